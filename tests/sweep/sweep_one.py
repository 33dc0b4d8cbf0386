"""One network of the sweep, in a process of its own: ``python sweep_one.py NAME OUT.json``.

The result file always holds the latest outcome: while a step runs, that of a process that dies in
it. So whoever started the process knows where it was when it crashed or was stopped.
"""

from __future__ import annotations

import argparse
import hashlib
import resource
import tempfile
import time
import warnings
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from sweep_attribution import blame, blame_without_run
from sweep_folds import RULES, expected_folds
from sweep_models import Inputs, accepted_inputs, build
from sweep_outcome import Outcome, Reason, to_line
from sweep_setup import STEADY, prepare

from ssn_prune import convert_to_ssn, export_onnx, prune, verify
from ssn_prune.errors import (
    CheckpointError,
    ExportError,
    NoSwitchableLayerError,
    VerificationError,
    first_line,
)
from ssn_prune.nn.switchable import SwitchableNorm
from ssn_prune.onnx_export.options import ExportOptions
from ssn_prune.onnx_export.results import OnnxStats
from ssn_prune.pruning.prune import PruneResult
from ssn_prune.verification.results import VerificationReport
from ssn_prune.verification.verify import require_passed

GIGABYTE = 2**30


class StoppedError(Exception):
    """The network ends here, with a reason."""

    def __init__(self, reason: Reason, detail: str) -> None:
        super().__init__(detail)
        self.reason = reason
        self.detail = detail


@dataclass
class Progress:
    """Keeps the result file up to date."""

    path: Path
    outcome: Outcome
    step: str = "start"
    inputs: Inputs | None = None

    def note(self, **fields: Any) -> None:
        """Change some fields of the outcome."""
        self.outcome = replace(self.outcome, **fields)
        self.path.write_text(to_line(self.outcome))


@contextmanager
def step(progress: Progress, name: str, otherwise: Reason) -> Iterator[None]:
    """Name a step, and turn what it raises into a reason."""
    progress.step = name
    progress.note(reason=Reason.CRASH, detail=f"the process died in the step {name!r}")
    try:
        yield
    except StoppedError:
        raise
    # Any code of a foreign network may run here and raise anything; all of it is an outcome.
    except Exception as error:
        reason = Reason.MEMORY if _out_of_memory(error) else otherwise
        raise StoppedError(reason, f"{name}: {type(error).__name__}: {_text(error)}") from error


def _out_of_memory(error: BaseException) -> bool:
    text = str(error)
    return isinstance(error, MemoryError) or "allocate memory" in text or "bad_alloc" in text


def _text(error: BaseException) -> str:
    found = getattr(error, "found", None)
    return f"{first_line(error)} ({found})" if found else first_line(error)


def run(name: str, progress: Progress, rules: tuple[str, ...]) -> None:
    """Convert and check one network.

    Raises:
        StoppedError: It did not end OK.
    """
    digest = hashlib.sha256(name.encode()).digest()
    correction, seed = digest[0] % 2, int.from_bytes(digest[1:5], "big")
    torch.manual_seed(seed)
    with step(progress, "build", Reason.BUILD), _downloads_refused():
        network = build(name)
    progress.note(correction=correction)
    with step(progress, "swap", Reason.SETUP):
        try:
            network = convert_to_ssn(network, correction=correction, inplace=True).model
        except NoSwitchableLayerError as error:
            raise StoppedError(Reason.NO_NORM, error.found or "") from error
    layers = sum(isinstance(module, SwitchableNorm) for module in network.modules())
    with step(progress, "set up", Reason.SETUP):
        progress.note(layers=layers)
        draw = prepare(network, accepted_inputs(name, network), seed)
        progress.inputs = inputs = draw.inputs
        progress.note(inputs=str(inputs), noise_growth=draw.growth)
    example = inputs.make(2, 0)
    with step(progress, "count folds", Reason.SETUP):
        expected = expected_folds(network, example, rules)
        progress.note(expected_folds=len(expected))
    with step(progress, "prune", Reason.PRUNE):
        result = prune(network, example)
        _note_report(progress, result)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "model.onnx"
        stats, fixed = _exported(result, example, path, progress)
        progress.note(nodes_after=stats.nodes, fixed_batch=fixed)
        with step(progress, "verify", Reason.VERIFY):
            checks = _verified(result, path, inputs.verification(bool(fixed)))
    _judge(result, checks, expected, progress)


@contextmanager
def _downloads_refused() -> Iterator[None]:
    """Without weights nothing has to be downloaded; what tries to is reported."""
    original = torch.hub.download_url_to_file

    def refuse(url: str, *_: Any, **__: Any) -> None:
        raise StoppedError(Reason.NEEDS_DATA, f"it downloads {url}")

    torch.hub.download_url_to_file = refuse
    try:
        yield
    finally:
        torch.hub.download_url_to_file = original


def _note_report(progress: Progress, result: PruneResult) -> None:
    report = result.report
    operators = report.before.operators
    progress.note(
        folded=sum(layer.fold is not None for layer in report.layers),
        refused=dict(Counter(layer.reason_code for layer in report.layers if layer.reason_code)),
        operators_before=None if operators is None else sum(operators.values()),
    )
    left = [n for n, m in result.model.named_modules() if isinstance(m, SwitchableNorm)]
    if left:
        raise StoppedError(Reason.NOT_REPLACED, f"still switchable: {', '.join(left[:4])}")


def _exported(
    result: PruneResult, example: tuple[Any, ...], path: Path, progress: Progress
) -> tuple[OnnxStats, str]:
    """The file's statistics, and why the batch had to be fixed; empty if it did not."""
    with step(progress, "export", Reason.EXPORTER):
        try:
            return export_onnx(result.model, example, path), ""
        except ExportError as error:
            why = _text(error)
    with step(progress, "export with a fixed batch", Reason.EXPORTER):
        fixed = ExportOptions(dynamic="none")
        try:
            return export_onnx(result.model, example, path, options=fixed), why
        except ExportError as error:
            raise StoppedError(_export_reason(result, error), _text(error)) from error


def _export_reason(result: PruneResult, error: ExportError) -> Reason:
    converting = isinstance(error.__cause__, torch.onnx.OnnxExporterError)
    if result.report.capture_error is not None and not converting:
        return Reason.CAPTURE
    return Reason.EXPORTER if converting or error.__cause__ is None else Reason.CAPTURE


def _verified(result: PruneResult, path: Path, batches: list[Any]) -> VerificationReport:
    try:
        return verify(result, path, batches)
    except CheckpointError as error:  # what the rounding check raises for a file that cannot run
        raise StoppedError(Reason.RUNTIME, _text(error)) from error


def _judge(
    result: PruneResult, checks: VerificationReport, expected: set[str], progress: Progress
) -> None:
    algebra, rounding = checks.algebra, checks.rounding
    if algebra is None or rounding is None:
        raise StoppedError(Reason.VERIFY, "a check did not run")
    progress.note(
        algebra_error=max(algebra.output_error, algebra.worst_layer_error),
        rounding_share=rounding.max_error / rounding.bound if rounding.bound else 0.0,
    )
    if not checks.passed:
        reason = Reason.ROUNDING if algebra.passed else Reason.ALGEBRA
        try:
            require_passed(checks)
        except VerificationError as error:
            raise StoppedError(reason, _text(error)) from error
    found = {layer.name: layer for layer in result.report.layers}
    folded = {name for name, layer in found.items() if layer.fold is not None}
    missing = [f"{name} ({found[name].reason})" for name in found if name in expected - folded]
    surplus = [name for name in found if name in folded - expected]
    if missing or surplus:
        detail = f"{len(missing)} not folded: {'; '.join(missing[:3])}" if missing else ""
        detail += f" {len(surplus)} folded against the count: {', '.join(surplus[:3])}" * bool(
            surplus
        )
        raise StoppedError(Reason.FOLD_COUNT, detail.strip())


def limit_memory(gigabytes: float) -> None:
    _, hard = resource.getrlimit(resource.RLIMIT_DATA)
    resource.setrlimit(resource.RLIMIT_DATA, (int(gigabytes * GIGABYTE), hard))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("name")
    parser.add_argument("out", type=Path)
    parser.add_argument("--memory", type=float, default=10.0)
    parser.add_argument("--rules", nargs="+", default=RULES)
    parser.add_argument("--debug", action="store_true", help="show the trace of a failure")
    arguments = parser.parse_args()
    limit_memory(arguments.memory)
    torch.set_num_threads(1)
    warnings.simplefilter("ignore")  # foreign networks warn about themselves
    start = time.perf_counter()
    progress = Progress(arguments.out, Outcome(arguments.name, Reason.CRASH))
    try:
        run(arguments.name, progress, tuple(arguments.rules))
        progress.note(reason=Reason.OK, detail="", seconds=time.perf_counter() - start)
    except StoppedError as stop:
        seconds = time.perf_counter() - start
        progress.note(reason=stop.reason, detail=stop.detail, seconds=seconds)
        if stop.reason is not Reason.NO_NORM:
            fault = blame_without_run(arguments.name, stop.reason)
            progress.note(limit=fault.limit, reproduction=fault.reproduction)
            steady = (progress.outcome.noise_growth or 0) <= STEADY
            fault = blame(arguments.name, stop.reason, progress.inputs, steady=steady)
            progress.note(limit=fault.limit, reproduction=fault.reproduction)
        if arguments.debug:
            raise


if __name__ == "__main__":
    main()
