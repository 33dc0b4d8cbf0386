"""Hostile ONNX files end in a typed error of ``verify`` and ``bench``, in bounded time.

Usually each file runs in a separate process; here one process serves many files while it lives.
"""

from __future__ import annotations

import json
import random
import re
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager

import pytest
import torch
from cli_checks import ARCH, run_cli
from helpers import tiny_network
from hostile_onnx import CASES
from hostile_onnx_case import ARGUMENT, OK, RUNTIME, VERIFICATION, Place
from mutations import damage

from ssn_prune.benchmarking import bench
from ssn_prune.checkpoint import loading
from ssn_prune.conversion import ConvertOptions
from ssn_prune.conversion.steps import prune_loaded
from ssn_prune.example_inputs import example_inputs
from ssn_prune.runtime import process
from ssn_prune.runtime.process import RuntimeProcess, runtime_process
from ssn_prune.verification import onnx_runtime, verify

EXIT_CODES = {OK: 0, RUNTIME: 1, ARGUMENT: 2, VERIFICATION: 3}
PATIENCE = 30
"""Seconds beyond the limit of a file, since other processes run, too."""


class SharedProcess:
    """Replaces ``runtime_process``, since starting a process takes longer than most files."""

    def __init__(self) -> None:
        self._stack = ExitStack()
        self._process: RuntimeProcess | None = None

    @contextmanager
    def __call__(self, timeout: float, *, limited: bool = True) -> Iterator[RuntimeProcess]:
        if self._process is None or not self._process.alive:
            self._stack.close()
            self._process = self._stack.enter_context(runtime_process(timeout, limited=limited))
        self._process.seconds_left = self._process.timeout = timeout
        yield self._process

    def close(self) -> None:
        self._stack.close()


@pytest.fixture(scope="module")
def sound(tmp_path_factory):
    """The bytes of a sound file; ``verify`` processes its checkpoint only once."""
    folder = tmp_path_factory.mktemp("sound")
    torch.save(tiny_network().state_dict(), folder / "net.pth")
    converted = run_cli("convert", str(folder / "net.pth"), *ARCH, "-o", str(folder / "net.onnx"))
    assert converted.exit_code == 0, converted.stderr
    loaded = loading.load_checkpoint(folder / "net.pth", arch=ARCH[1])
    inputs = example_inputs(loaded, None)
    options = ConvertOptions()
    pruned = prune_loaded(loaded, inputs.pruning, options)
    outputs = verify.check_in_float64(
        verify.Networks.of(pruned), inputs.verification, algebra=False, rounding=True
    )
    shared = SharedProcess()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(loading, "load_checkpoint", lambda *_, **__: loaded)
        patch.setattr("ssn_prune.conversion.verifying.prune_loaded", lambda *_, **__: pruned)
        patch.setattr(verify, "check_in_float64", lambda *_, **__: outputs)
        patch.setattr(process, "memory_share", lambda: 1 << 30)
        for module in (bench, onnx_runtime):
            patch.setattr(module, "runtime_process", shared)
        yield (folder / "net.onnx").read_bytes()
    shared.close()


def command(case, name, path):
    if name == "verify":
        return ("verify", "net.pth", path, *ARCH, "--verify", "rounding")
    return ("bench", path, "--runs", "2", *case.options)


@pytest.mark.parametrize("name", ["verify", "bench"])
@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_a_typed_error_or_a_sound_result(sound, tmp_path, case, name):
    place = Place(tmp_path / "m", sound)
    place.folder.mkdir()
    case.make(place)
    start = time.monotonic()
    seconds = ("--timeout", str(case.seconds))
    result = run_cli(*command(case, name, str(place.path)), *seconds, "--json")
    assert time.monotonic() - start < case.seconds + PATIENCE
    document = json.loads(result.stdout)
    error = document.get("error", {"code": OK})
    expected = getattr(case, name)
    assert error["code"] == expected, error
    assert result.exit_code == EXIT_CODES[expected]
    assert not re.search(r"[\x00-\x09\x0b-\x1f]", result.output)
    if expected == OK:
        return
    assert all(error[field] for field in ("problem", "expected", "found", "hint"))
    assert len(result.stderr) < 3000
    if name == "bench" or case.bench == OK:
        assert case.found in f"{error['problem']}: {error['found']}"


@pytest.mark.parametrize("name", ["verify", "bench"])
def test_random_damage_is_a_typed_error_or_leaves_a_file_that_runs(sound, tmp_path, name):
    path = tmp_path / "m.onnx"
    for index in range(40):
        path.write_bytes(damage(sound, random.Random(index)))
        result = run_cli(*command(CASES[0], name, str(path)), "--timeout", "60", "--json")
        error = json.loads(result.stdout).get("error", {"code": OK, "problem": ""})
        assert error["code"] in EXIT_CODES, error
        assert "needs more" not in error["problem"], index


def test_names_are_unique():
    assert len({case.name for case in CASES}) == len(CASES)
