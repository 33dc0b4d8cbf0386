"""What the checks of a conversion found. Data only."""

from __future__ import annotations

import math
from dataclasses import dataclass

from ssn_prune.surgery.results import AdoptionCheck, LayerError
from ssn_prune.surgery.rounding_bounds import NEAR, is_rounding


@dataclass(frozen=True)
class AlgebraCheck:
    """The pruned network against the original, both in float64: relative errors, and their bound.

    ``layers`` are the errors of all layers, in execution order. ``first_layer_off`` is the first
    of them above its bound. ``tolerance`` is the largest of all bounds: 1e-11, if no error exceeds
    that.
    """

    passed: bool
    output_error: float
    worst_layer: str | None
    worst_layer_error: float
    first_layer_off: str | None
    tolerance: float
    layers: tuple[LayerError, ...] = ()

    @property
    def near(self) -> bool:
        """Whether the errors are at most ten times what the network loses in float64 by itself."""
        pairs = [(layer.error, layer.bound) for layer in self.layers]
        pairs += [(self.output_error, self.tolerance)]
        return all(is_rounding(error, bound) for error, bound in pairs)


@dataclass(frozen=True)
class RoundingCheck:
    """The file in its runtime against the original in float64: absolute errors and the bound.

    ``output`` is the output that uses the most of its bound. ``scale`` is its largest value, or the
    range of the ``activation`` that makes it. ``provider`` is the execution provider that the
    session names; None for formats without one. ``runtime`` is what ran the file. ``layers`` are
    the errors inside the file, in execution order; they are measured if asked for, or if the check
    failed. ``selected_float32_error`` is the error in float32 of the network with the selected
    normalizers, before anything is folded. It counts in the bound if it is larger than
    ``original_float32_error``, and is measured only if the file exceeds the bound without it.
    """

    passed: bool
    max_error: float
    original_float32_error: float
    bound: float
    scale: float
    top1_agreement: float | None
    inputs: int
    batch_sizes: tuple[int, ...]
    first_layer_off: str | None
    output: str
    activation: str | None
    provider: str | None = None
    layers: tuple[LayerError, ...] = ()
    runtime: str = "ONNX Runtime"
    selected_float32_error: float | None = None

    @property
    def near(self) -> bool:
        """Whether the error is one of rounding, at most ten times the bound, with the same classes.

        Code or a file that does something else is far off.
        """
        within = math.isfinite(self.bound) and self.max_error <= NEAR * self.bound
        return within and self.top1_agreement in (None, 1.0)


@dataclass(frozen=True)
class RuntimeCheck:
    """Another runtime against the original in float64, in units of the largest output.

    Attributes:
        runtime: Name of the runtime.
        version: Version of the runtime.
        passed: Whether the error is at most the bound.
        error: Error of the output that uses the most of its bound.
        original_float32_error: Error of the original in float32, the smallest of the networks that
            the file is compared with.
        twin_error: Error of the network with BatchNorm in the place of the switchable layers in
            this runtime, against itself in float64; None if that does not run there.
        bound: The largest error that passes: the larger of those that
            :mod:`ssn_prune.runtime.backends.bound` and the rounding check allow.
        onnxruntime_error: Error of the file in ONNX Runtime on the CPU.
        output: The output that uses the most of its bound.
        scale: Its largest value, or the range of the activation that makes it.
    """

    runtime: str
    version: str
    passed: bool
    error: float
    original_float32_error: float
    twin_error: float | None
    bound: float
    onnxruntime_error: float
    output: str
    scale: float


@dataclass(frozen=True)
class VerificationReport:
    """The results of all checks; None for one that was switched off.

    ``adoption`` is the check of layers of another implementation, made while pruning, where a
    failure raises an error. ``runtimes`` are the other runtimes that were asked for.
    """

    algebra: AlgebraCheck | None
    rounding: RoundingCheck | None
    adoption: AdoptionCheck | None = None
    runtimes: tuple[RuntimeCheck, ...] = ()

    @property
    def passed(self) -> bool:
        """Whether every check that ran passed."""
        checks = (self.algebra, self.rounding, *self.runtimes)
        return all(check.passed for check in checks if check is not None)
