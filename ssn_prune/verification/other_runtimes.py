"""A file in runtimes other than ONNX Runtime, against the original in float64.

A runtime may be less accurate than ONNX Runtime on any network. So the bound follows from its error
on the same network with BatchNorm in the place of switchable layers
(:mod:`ssn_prune.pruning.batch_norm_twin`), and is at least that of the rounding check. Every file
runs in a process of its own.
"""

from __future__ import annotations

import math
import os
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from ssn_prune.errors import InferenceRuntimeError, VerificationError
from ssn_prune.images.preprocessing import Preprocessing
from ssn_prune.onnx_export.targets import TARGETS
from ssn_prune.runtime.backends.bound import bound_in_runtime
from ssn_prune.runtime.backends.interface import Backend
from ssn_prune.runtime.backends.running import require_installed
from ssn_prune.runtime.backends.table import ONNX_RUNTIME, backend_of
from ssn_prune.runtime.file_facts import embedded_by
from ssn_prune.runtime.file_options import FileOptions
from ssn_prune.runtime.file_outputs import FileOutput
from ssn_prune.runtime.process import RuntimeProcess, runtime_process
from ssn_prune.verification.compare import OutputErrors, errors_of_outputs
from ssn_prune.verification.onnx_runtime import to_arrays, to_tensors
from ssn_prune.verification.reference_outputs import ReferenceOutputs
from ssn_prune.verification.results import RuntimeCheck
from ssn_prune.verification.twin import Batches, Twin, export_twin


@dataclass(frozen=True)
class _Opened:
    """A file in a runtime, in a process of its own."""

    path: Path
    version: str
    outputs: tuple[FileOutput, ...]
    options: FileOptions
    embedded: Preprocessing | None
    process: RuntimeProcess

    def errors(self, batches: Batches, outputs: ReferenceOutputs) -> list[OutputErrors]:
        """Run it on all batches, and compare it with the reference."""
        return errors_of_outputs([self._run(b) for b in batches], outputs, self.outputs)

    def _run(self, batch: tuple[Any, ...]) -> list[Tensor]:
        given = to_arrays(batch, self.embedded)
        _, arrays = self.process.call("run", self.path.name, arrays=given)
        return to_tensors(arrays)


def check_in_runtimes(
    backends: Sequence[Backend],
    path: Path,
    original: nn.Module,
    batches: Batches,
    outputs: ReferenceOutputs,
    timeout: float,
) -> tuple[RuntimeCheck, ...]:
    """Run an ONNX file in several runtimes and compare it with the reference.

    Args:
        backends: The runtimes, which must be installed.
        path: The file.
        original: The network with switchable layers; not changed.
        batches: Inputs of several calls.
        outputs: Outputs of the reference for them.
        timeout: Seconds that each runtime may take for each file.

    Raises:
        InferenceRuntimeError: A runtime cannot load or run the file, or takes too long.
    """
    with tempfile.TemporaryDirectory() as folder:
        with _opened(ONNX_RUNTIME, path, timeout) as opened:
            usual = opened.errors(batches, outputs)
            options = opened.options
        twin = export_twin(original, batches, options, Path(folder))
        return tuple(
            check_in_runtime(backend, path, batches, outputs, usual, twin, timeout)
            for backend in backends
        )


def check_in_runtime(
    backend: Backend,
    path: Path,
    batches: Batches,
    outputs: ReferenceOutputs,
    usual: Sequence[OutputErrors],
    twin: Twin | None,
    timeout: float,
) -> RuntimeCheck:
    """Run an ONNX file in one runtime and compare it with the reference.

    Args:
        backend: The runtime.
        path: The file.
        batches: Inputs of several calls.
        outputs: Outputs of the reference for them.
        usual: The errors in ONNX Runtime, output by output.
        twin: The BatchNorm twin, whose error sets the bound; None if there is none.
        timeout: Seconds that it may take for each file.
    """
    with _opened(backend, path, timeout) as opened:
        found = opened.errors(batches, outputs)
        version = opened.version
    twin_error = None if twin is None else _twin_error(backend, twin, batches, timeout)
    allowed = [max(bound_in_runtime(twin_error), _own_bound(output)) for output in found]
    index = max(range(len(found)), key=lambda i: found[i].relative_error / allowed[i])
    worst = found[index]
    return RuntimeCheck(
        runtime=backend.name,
        version=version,
        passed=worst.relative_error <= allowed[index],
        error=worst.relative_error,
        original_float32_error=worst.own_error / worst.scale if worst.scale > 0 else 0.0,
        twin_error=twin_error,
        bound=allowed[index],
        onnxruntime_error=usual[index].relative_error,
        output=worst.output.name,
        scale=worst.scale,
    )


def _own_bound(output: OutputErrors) -> float:
    """The bound of the rounding check: some networks lose more accuracy than any runtime."""
    finite = output.scale > 0 and math.isfinite(output.bound)
    return output.bound / output.scale if finite else 0.0


@contextmanager
def _opened(backend: Backend, path: Path, timeout: float) -> Iterator[_Opened]:
    how = {"path": os.path.abspath(path), "threads": torch.get_num_threads()}
    with (
        tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as scratch,
        runtime_process(timeout, backend.title, scratch=scratch) as process,
    ):
        found, _ = process.call("open_in", path.name, how | {"runtime": backend.name})
        outputs = tuple(FileOutput(**output) for output in found["outputs"])
        options = FileOptions(**found["options"])
        embedded = embedded_by(found["preprocessing"])
        yield _Opened(path, found["version"], outputs, options, embedded, process)


def _twin_error(backend: Backend, twin: Twin, batches: Batches, timeout: float) -> float | None:
    try:
        with _opened(backend, twin.path, timeout) as opened:
            errors = opened.errors(batches, twin.outputs)
    except InferenceRuntimeError:  # another operator of the network fails in this runtime
        return None
    error = max(output.relative_error for output in errors)
    return error if math.isfinite(error) else None


def installed_backends(names: Sequence[str]) -> list[Backend]:
    """The runtimes with given names, each once.

    Raises:
        ArgumentError: There is no runtime of that name.
        InferenceRuntimeError: One is not installed.
    """
    backends = [backend_of(name) for name in dict.fromkeys(names)]
    for backend in backends:
        require_installed(backend)
    return backends


def require_right(checks: Sequence[RuntimeCheck], hint: str) -> None:
    """Raise if the file is wrong in a runtime.

    Args:
        checks: The result in each runtime.
        hint: The hint if the file is also wrong in ONNX Runtime.

    Raises:
        VerificationError: The file is wrong in one; the error names the runtime.
    """
    for check in checks:
        if check.passed:
            continue
        runtime = f"{backend_of(check.runtime).title} {check.version}"
        twin = "cannot be run there"
        if check.twin_error is not None:
            twin = f"is off by {check.twin_error:.2g} there"
        right_elsewhere = check.onnxruntime_error <= check.bound
        raise VerificationError(
            f"the exported file does not give the original's outputs in {runtime}: "
            f"{check.output} is off",
            layer=None,
            expected=f"an error of at most {check.bound:.2g} of the largest output (the original "
            f"in float32 is off by {check.original_float32_error:.2g}, the same network with "
            f"BatchNorm alone {twin})",
            found=f"an error of {check.error:.3g}; of {check.onnxruntime_error:.2g} in ONNX "
            "Runtime",
            hint=_cure(check.runtime) if right_elsewhere else hint,
        )


def _cure(runtime: str) -> str:
    elsewhere = "run the file in ONNX Runtime, where it is right"
    if runtime not in {target.name for target in TARGETS}:
        return f"{elsewhere}, or in another version of {backend_of(runtime).title}"
    return f"convert again with `target={runtime!r}`; if the file is for it already, {elsewhere}"
