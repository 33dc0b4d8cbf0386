"""What the checks of a conversion found. Data only."""

from __future__ import annotations

from dataclasses import dataclass

from ssn_prune.surgery.results import AdoptionCheck, LayerError


@dataclass(frozen=True)
class AlgebraCheck:
    """Pruned against original, both float64: relative errors and the bound they must meet.

    ``layers`` are the errors of all layers, in execution order.
    """

    passed: bool
    output_error: float
    worst_layer: str | None
    worst_layer_error: float
    first_layer_off: str | None
    tolerance: float
    layers: tuple[LayerError, ...] = ()


@dataclass(frozen=True)
class RoundingCheck:
    """The file in its runtime against the original in float64: absolute errors and the bound.

    ``output`` is the output that uses most of its bound; ``scale`` its largest value, or the range
    of the ``activation`` that makes it. ``provider`` is the execution provider that the session
    names; None for files of a format without any. ``runtime`` is what ran the file. ``layers`` are
    the errors inside the file, in execution order; measured where they were asked for, or where the
    check failed.
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


@dataclass(frozen=True)
class RuntimeCheck:
    """Another runtime against the original in float64, in units of the largest output.

    Attributes:
        runtime: Its name.
        version: Its version.
        passed: Whether the error is at most the bound.
        error: Of the output that uses most of its bound.
        original_float32_error: The smallest one of the networks that the file is compared with.
        twin_error: The same of the network with BatchNorm in place of the switchable layers,
            against itself in float64; None if that does not run in this runtime.
        bound: What is allowed: what :mod:`ssn_prune.runtime.backends.bound` or the rounding check
            allows, whichever is more.
        onnxruntime_error: That of the file in ONNX Runtime on the CPU.
        output: The output that uses most of its bound.
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
    """The checks; one that was switched off is None.

    ``adoption`` is that of pruning, which fails with an error; ``runtimes`` are those that were
    asked for.
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
