"""A torch program is opened only if the user vouches for it, byte by byte or whatever it is."""

from __future__ import annotations

import contextlib
import json
import os
import tracemalloc
from pathlib import Path

import pytest
import torch
from helpers import tiny_network
from torch_programs import members, plant, write_members

from ssn_prune import ExportOptions, prune
from ssn_prune.errors import ArgumentError, InferenceRuntimeError, UntrustedFileError
from ssn_prune.runtime.stored_program import batch_of_program, source_of_program, stored_in_program
from ssn_prune.runtime.torch_programs import TorchProgram
from ssn_prune.runtime.trust import Trust, trust_of, trusted_content
from ssn_prune.torch_export.exporter import write_pt2


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, str]:
    """A program and its hash."""
    path = tmp_path_factory.mktemp("written") / "m.pt2"
    x = torch.randn(2, 1, 8, 8)
    stats, _ = write_pt2(prune(tiny_network(), x).model, (x,), path, path, ExportOptions())
    return path, stats.sha256


def write_report(path: Path, document: object) -> Path:
    path.write_text(json.dumps(document))
    return path


def test_a_program_of_the_report_is_opened_and_another_is_not(
    written: tuple[Path, str], tmp_path: Path
) -> None:
    path, sha256 = written
    report = write_report(tmp_path / "run.json", {"exported": {"sha256": sha256}})
    allowed = trust_of(trust_pt2=False, reports=[report]).allowed("m.pt2")
    assert allowed == (sha256,)
    assert TorchProgram(trusted_content(path, "m.pt2", allowed), "m.pt2").nodes > 0
    canary, planted = tmp_path / "canary", tmp_path / "planted.pt2"
    plant(path, planted, canary)
    with pytest.raises(UntrustedFileError, match="not the torch program of the report") as caught:
        trusted_content(planted, "planted.pt2", allowed)
    assert sha256[:16] in str(caught.value.expected)
    assert not canary.exists()
    # The control: the file does execute when it is opened.
    with contextlib.suppress(InferenceRuntimeError):
        TorchProgram(trusted_content(planted, "planted.pt2", None), "planted.pt2")
    assert canary.exists()


def test_nothing_is_opened_without_a_word() -> None:
    with pytest.raises(UntrustedFileError) as caught:
        Trust().allowed("m.pt2")
    assert "`trust_pt2=True`" in str(caught.value.hint)
    assert "`from_report='run.json'`" in str(caught.value.hint)
    assert Trust(any_program=True).allowed("m.pt2") is None


def test_the_bytes_that_are_hashed_are_those_that_are_loaded(
    written: tuple[Path, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Another process puts a harmful file in its place once the hash is known."""
    path, sha256 = written
    canary, target = tmp_path / "canary", tmp_path / "m.pt2"
    plant(path, tmp_path / "planted.pt2", canary)
    target.write_bytes(path.read_bytes())
    load = torch.export.load

    def replaced(file: object, **options: object) -> object:
        target.write_bytes((tmp_path / "planted.pt2").read_bytes())
        return load(file, **options)

    monkeypatch.setattr(torch.export, "load", replaced)
    TorchProgram(trusted_content(target, "m.pt2", [sha256]), "m.pt2")
    assert not canary.exists()


DEEP = "[" * 100_000
REPORTS = {
    "is no JSON": b"{",
    "is no text": b"\xff\xfe\x00",
    "is too deep": DEEP.encode(),
    "is a list": b"[]",
    "is a report of an ONNX file": b'{"onnx": {}, "exported": null}',
    "has a number": b'{"exported": {"sha256": 1}}',
    "has another text": b'{"exported": {"sha256": "abc"}}',
    "has a list of files": b'{"exported": [{"sha256": "abc"}]}',
}


@pytest.mark.parametrize("content", REPORTS.values(), ids=list(REPORTS))
def test_a_report_that_names_no_program_is_refused(content: bytes, tmp_path: Path) -> None:
    (tmp_path / "run.json").write_bytes(content)
    with pytest.raises(ArgumentError, match="no report of a conversion"):
        trust_of(trust_pt2=False, reports=[tmp_path / "run.json"])


@pytest.mark.parametrize("name", ["absent.json", ".", "a\0b"])
def test_a_report_that_cannot_be_read_is_refused(name: str, tmp_path: Path) -> None:
    with pytest.raises(ArgumentError, match="no report of a conversion"):
        trust_of(trust_pt2=False, reports=[tmp_path / name])


@pytest.mark.parametrize("damage", ["nothing", "half", "another archive", "no model"])
def test_a_file_that_torch_cannot_load_is_a_typed_error(
    damage: str, written: tuple[Path, str], tmp_path: Path
) -> None:
    path, content = tmp_path / "m.pt2", written[0].read_bytes()
    found = members(written[0])
    if damage == "another archive":
        write_members(path, {"a": b"b"})
    elif damage == "no model":
        write_members(path, {name: data for name, data in found.items() if "models" not in name})
    else:
        path.write_bytes(content[: len(content) // 2] if damage == "half" else b"")
    with pytest.raises(InferenceRuntimeError, match="torch cannot load"):
        TorchProgram(trusted_content(path, "m.pt2", None), "m.pt2")
    assert stored_in_program(path) == (
        {} if damage != "no model" else stored_in_program(written[0])
    )


METADATA = {
    "is no JSON": b"{",
    "is a list": b"[1]",
    "has numbers": b'{"ssn_prune.inputs": 1}',
    "is too deep": DEEP.encode(),
    "has a batch of text": b'{"ssn_prune.inputs": "{\\"x\\": [\\"batch\\", 3]}"}',
    "has a negative batch": b'{"ssn_prune.inputs": "{\\"x\\": [-4, 3]}"}',
    "has no shape": b'{"ssn_prune.inputs": "{\\"x\\": 3}"}',
    "has deep inputs": json.dumps({"ssn_prune.inputs": DEEP}).encode(),
    "has no hash": b'{"ssn_prune.source": "a.pth", "ssn_prune.source_sha256": "0"}',
}


@pytest.mark.parametrize("content", METADATA.values(), ids=list(METADATA))
def test_damaged_metadata_say_nothing(
    content: bytes, written: tuple[Path, str], tmp_path: Path
) -> None:
    path = tmp_path / "m.pt2"
    write_members(path, members(written[0]) | {"archive/extra/ssn_prune.json": content})
    assert batch_of_program(path) is None
    assert source_of_program(path) is None


def test_a_report_that_is_a_pipe_is_refused_at_once(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "run.json")
    with pytest.raises(ArgumentError, match="no report"):
        trust_of(trust_pt2=False, reports=[tmp_path / "run.json"])


def test_what_is_refused_is_not_kept_in_memory(tmp_path: Path) -> None:
    with (tmp_path / "m.pt2").open("wb") as file:
        file.truncate(1 << 30)
    tracemalloc.start()
    try:
        with pytest.raises(UntrustedFileError):
            trusted_content(tmp_path / "m.pt2", "m.pt2", ("0" * 64,))
        assert tracemalloc.get_traced_memory()[1] < 1 << 24
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize("sizes", ["[[1]]", '[{"a": 1}]', "[null]", "[true]", "[1.0]", "7"])
def test_odd_sizes_fix_no_batch(sizes: str, written: tuple[Path, str], tmp_path: Path) -> None:
    content = members(written[0])
    name = next(name for name in content if name.endswith("ssn_prune.json"))
    stored = json.loads(content[name])
    content[name] = json.dumps(stored | {"ssn_prune.inputs": f'{{"x": {sizes}}}'}).encode()
    write_members(tmp_path / "m.pt2", content)
    assert batch_of_program(tmp_path / "m.pt2") is None
