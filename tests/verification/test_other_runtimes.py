"""A file in another runtime: its error against the original, and a bound made from a twin.

The runtimes that are wrong, crash or hang are a module ``openvino`` of the tests, which only the
process that runs files finds.
"""

from __future__ import annotations

import dataclasses
import os
import signal
import tempfile
from pathlib import Path

import onnxruntime
import openvino
import pytest
import torch
from helpers import tiny_network

from ssn_prune import (
    ArgumentError,
    InferenceRuntimeError,
    PruneResult,
    RuntimeCheck,
    VerificationError,
    export_onnx,
    prune,
    random_batches,
    verify,
)
from ssn_prune.runtime.backends.table import backend_of
from ssn_prune.runtime.file_options import FileOptions
from ssn_prune.runtime.process import runtime_process
from ssn_prune.surgery.float64 import float64_copy
from ssn_prune.verification.compare import errors_of_outputs
from ssn_prune.verification.other_runtimes import check_in_runtime
from ssn_prune.verification.reference_outputs import ReferenceOutputs
from ssn_prune.verification.results import VerificationReport
from ssn_prune.verification.twin import Twin, export_twin
from ssn_prune.verification.verify import require_passed

BATCHES = random_batches([(1, 8, 8)], (1, 2, 3))
OPENVINO = backend_of("openvino")


@pytest.fixture(scope="module")
def pruned() -> PruneResult:
    return prune(tiny_network(), BATCHES[1])


@pytest.fixture(scope="module")
def file(pruned: PruneResult, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("onnx") / "m.onnx"
    export_onnx(pruned.model, BATCHES[1], path)
    return path


@pytest.fixture(scope="module")
def exact(pruned: PruneResult) -> list[list[torch.Tensor]]:
    wide = float64_copy(pruned.original)
    with torch.no_grad():
        return [[wide(x.double())] for (x,) in BATCHES]


@pytest.fixture(scope="module")
def twin(pruned: PruneResult, tmp_path_factory: pytest.TempPathFactory) -> Twin:
    options = FileOptions(18, 10, "batch")
    found = export_twin(pruned.original, BATCHES, options, tmp_path_factory.mktemp("twin"))
    assert found is not None
    return found


def relative_error(found: list[torch.Tensor], exact: list[list[torch.Tensor]]) -> float:
    pairs = list(zip(found, (outputs[0] for outputs in exact), strict=True))
    scale = max(float(reference.abs().max()) for _, reference in pairs)
    return (
        max(float((value.double() - reference).abs().max()) for value, reference in pairs) / scale
    )


def test_the_errors_are_those_of_the_runtimes(
    pruned: PruneResult, file: Path, exact: list[list[torch.Tensor]]
) -> None:
    report = verify(
        pruned, file, BATCHES, algebra=False, rounding=False, runtimes=["openvino", "openvino"]
    )
    (check,) = report.runtimes
    require_passed(report)
    assert report.rounding is None
    session = onnxruntime.InferenceSession(file, providers=["CPUExecutionProvider"])
    usual = [torch.from_numpy(session.run(None, {"input": x.numpy()})[0]) for (x,) in BATCHES]
    settings = {"INFERENCE_PRECISION_HINT": "f32", "INFERENCE_NUM_THREADS": 1}
    compiled = openvino.Core().compile_model(str(file), "CPU", settings)
    other = [torch.from_numpy(compiled([x.numpy()])[0].copy()) for (x,) in BATCHES]
    assert check.error == pytest.approx(relative_error(other, exact), rel=0.5, abs=2e-7)
    assert check.onnxruntime_error == pytest.approx(relative_error(usual, exact), rel=0.5, abs=2e-7)
    assert check.twin_error is not None
    assert 0 < check.twin_error < 1e-6
    assert (check.runtime, check.output, check.bound) == ("openvino", "output", 1e-5)
    assert check.scale == max(float(outputs[0].abs().max()) for outputs in exact)
    assert check.version == OPENVINO.version()


FAKE = """
import os, tempfile
import onnxruntime

FAULTS = {faults!r}

class Core:
    def compile_model(self, path, device, settings):
        assert (device, settings["INFERENCE_PRECISION_HINT"]) == ("CPU", "f32")
        return Compiled(path)

class Compiled:
    def __init__(self, path):
        self.fault = FAULTS[os.path.basename(path)]
        if self.fault == "dies":
            tempfile.mkdtemp()
            os._exit(3)
        if self.fault == "refuses":
            raise RuntimeError("no such operator")
        self.session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
        self.outputs = range(1)

    def __call__(self, arrays):
        found = self.session.run(None, {{"input": arrays[0]}})
        return [value * (1 + self.fault) for value in found]
"""


@pytest.fixture
def check_with(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, file: Path, exact, twin: Twin):
    """Check the file in a runtime with faults."""

    def check(of_file: float | str, of_twin: float | str, own_error: float = 0.0) -> RuntimeCheck:
        own = [[value * (1 + own_error)] for (value,) in exact]
        outputs = ReferenceOutputs(exact, (own,))
        usual = errors_of_outputs(own, outputs)
        faults = {file.name: of_file, twin.path.name: of_twin}
        (tmp_path / "openvino.py").write_text(FAKE.format(faults=faults))
        before = os.environ.get("PYTHONPATH", "")
        monkeypatch.setenv("PYTHONPATH", os.pathsep.join([str(tmp_path), before]))
        return check_in_runtime(OPENVINO, file, BATCHES, outputs, usual, twin, 60)

    return check


def test_a_runtime_that_is_wrong_fails_and_is_named(check_with) -> None:
    check = check_with(2e-5, 0.0)
    assert (check.passed, check.bound) == (False, 1e-5)
    assert check.error == pytest.approx(2e-5, rel=0.05)
    report = VerificationReport(None, None, runtimes=(check,))
    assert not report.passed
    with pytest.raises(VerificationError, match=r"in OpenVINO \d+\.\d+\.\d+: output") as caught:
        require_passed(report)
    assert "of 0 in ONNX Runtime" in caught.value.found
    assert "run the file in ONNX Runtime" in caught.value.hint
    wrong_everywhere = dataclasses.replace(check, onnxruntime_error=1.0)
    with pytest.raises(VerificationError) as caught:
        require_passed(
            VerificationReport(None, None, runtimes=(wrong_everywhere,)), "convert again"
        )
    assert caught.value.hint == "convert again"


def test_a_runtime_that_is_less_exact_with_the_twin_passes(check_with) -> None:
    check = check_with(2e-5, 4e-6)
    assert check.passed
    assert check.bound == pytest.approx(4e-5, rel=0.1)


def test_a_network_that_loses_as_many_digits_itself_passes(check_with) -> None:
    check = check_with(2e-5, 0.0, own_error=1e-5)
    assert check.passed
    assert check.bound == pytest.approx(4 * check.original_float32_error + 1e-6, rel=1e-9)
    assert check.original_float32_error == check.onnxruntime_error == pytest.approx(1e-5, rel=1e-3)


def test_a_twin_that_is_as_wrong_is_no_excuse(check_with) -> None:
    check = check_with(0.17, 0.17)
    assert (check.passed, check.bound) == (False, 1e-3)


@pytest.mark.parametrize("fault", ["dies", "refuses"])
def test_a_twin_that_does_not_run_leaves_the_smallest_bound(check_with, fault: str) -> None:
    check = check_with(0.0, fault)
    assert (check.passed, check.twin_error, check.bound) == (True, None, 1e-5)


def test_a_runtime_that_dies_is_a_typed_error_with_a_cure_and_leaves_no_files(
    check_with, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "temporary").mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "temporary"))
    with pytest.raises(InferenceRuntimeError, match=r"OpenVINO crashed on m\.onnx") as caught:
        check_with("dies", 0.0)
    assert "run the file in ONNX Runtime" in caught.value.hint
    assert not list((tmp_path / "temporary").iterdir())


def test_a_runtime_that_hangs_is_ended(file: Path) -> None:
    with runtime_process(60, "OpenVINO") as running:
        how = {"path": str(file), "threads": 1, "runtime": "openvino"}
        running.call("open_in", "m.onnx", how)
        running.seconds_left = running.timeout = 0.3
        os.kill(running.pid, signal.SIGSTOP)
        with pytest.raises(InferenceRuntimeError, match="OpenVINO needs more than"):
            running.call("run", "m.onnx", arrays=[BATCHES[0][0].numpy()])


def test_a_runtime_or_provider_that_is_not_there_is_refused_before_anything_runs(
    pruned: PruneResult,
) -> None:
    steps: list[str] = []
    for argument in ({"runtimes": ["openvino", "opencl"]}, {"provider": "abacus"}):
        with pytest.raises(ArgumentError):
            verify(pruned, "m.onnx", BATCHES, progress=steps.append, **argument)
    assert steps == []
