"""What the checks of a conversion found. Data only."""

from __future__ import annotations

from dataclasses import dataclass

from ssn_prune.surgery.results import AdoptionCheck


@dataclass(frozen=True)
class AlgebraCheck:
    """Pruned against original, both float64: relative errors and the bound they must meet."""

    passed: bool
    output_error: float
    worst_layer: str | None
    worst_layer_error: float
    first_layer_off: str | None
    tolerance: float


@dataclass(frozen=True)
class RoundingCheck:
    """ONNX Runtime against the original in float64: absolute errors and the bound.

    ``output`` is the output that uses most of its bound; ``scale`` its largest value, or the range
    of the ``activation`` that makes it.
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


@dataclass(frozen=True)
class VerificationReport:
    """The checks; one that was switched off is None.

    ``adoption`` is that of pruning, which fails with an error.
    """

    algebra: AlgebraCheck | None
    rounding: RoundingCheck | None
    adoption: AdoptionCheck | None = None

    @property
    def passed(self) -> bool:
        """Whether every check that ran passed."""
        return all(check.passed for check in (self.algebra, self.rounding) if check is not None)
