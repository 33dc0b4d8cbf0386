"""Every format writes files that its own runtime reproduces the network from."""

from __future__ import annotations

from pathlib import Path

import pytest
from format_checks import assert_refuses_other_files, assert_writes_and_runs

from ssn_prune.errors import ArgumentError
from ssn_prune.export_formats import (
    EXPORT_FORMATS,
    ExportFormat,
    require_checkpoint_name,
    require_fitting_name,
)


@pytest.mark.parametrize("entry", EXPORT_FORMATS, ids=lambda entry: entry.name)
def test_a_file_is_written_and_runs(entry: ExportFormat, tmp_path: Path) -> None:
    assert_writes_and_runs(entry, tmp_path)


@pytest.mark.parametrize("entry", EXPORT_FORMATS, ids=lambda entry: entry.name)
def test_a_file_of_something_else_is_refused(entry: ExportFormat, tmp_path: Path) -> None:
    assert_refuses_other_files(entry, tmp_path)


def test_names_and_suffixes_are_those_of_one_format() -> None:
    for values in ([e.name for e in EXPORT_FORMATS], [e.suffix for e in EXPORT_FORMATS]):
        assert len(set(values)) == len(values)
    assert all(entry.suffix.startswith(".") for entry in EXPORT_FORMATS)


@pytest.mark.parametrize("name", ["m.pth", "m.safetensors", "m.PT", "m.pt2 ", "m.onnx "])
def test_a_name_of_another_kind_of_file_is_refused(name: str) -> None:
    with pytest.raises(ArgumentError, match="no name for an exported file") as caught:
        require_fitting_name(Path(name))
    assert "m.onnx" in caught.value.hint


@pytest.mark.parametrize("name", ["m", "m.onnx", "m.pt2", "m.v1", "m.ort"])
def test_other_names_are_taken(name: str) -> None:
    require_fitting_name(Path(name))


@pytest.mark.parametrize("name", ["m.onnx", "m.PT2", "m.safetensors", "m.npz", "m.onnx "])
def test_a_checkpoint_has_no_name_of_another_kind_of_file(name: str) -> None:
    with pytest.raises(ArgumentError, match="no name for a checkpoint") as caught:
        require_checkpoint_name(Path(name))
    assert "m.pth" in caught.value.hint


@pytest.mark.parametrize("name", ["m", "m.pth", "m.PT", "m.ckpt", "m.v1", "m.pth.tar"])
def test_other_names_of_checkpoints_are_taken(name: str) -> None:
    require_checkpoint_name(Path(name))
