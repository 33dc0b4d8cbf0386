"""verify: both checks on one conversion."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from ssn_prune.errors import VerificationError
from ssn_prune.progress import Progress, no_progress
from ssn_prune.pruning.plan import Plan
from ssn_prune.pruning.prune import PruneResult
from ssn_prune.surgery.nested import tensor_leaves
from ssn_prune.verification.algebra import compare_in_turns
from ssn_prune.verification.answers import Outputs, own_answers, run_wide
from ssn_prune.verification.onnx_runtime import check_rounding, compare_file
from ssn_prune.verification.precision import Copier, in_float64
from ssn_prune.verification.results import AlgebraCheck, VerificationReport

BATCH_SIZES = (1, 2, 3)


def random_batches(
    shapes: Sequence[tuple[int, ...]], batch_sizes: Sequence[int], seed: int = 0
) -> list[tuple[Tensor, ...]]:
    """Standard normal inputs, the same at every call.

    Args:
        shapes: Shape of each input without the batch axis.
        batch_sizes: One call per entry.
        seed: Seed of the generator.
    """
    generator = torch.Generator().manual_seed(seed)
    return [
        tuple(torch.randn(size, *shape, generator=generator) for shape in shapes)
        for size in batch_sizes
    ]


def verify(
    pruned: PruneResult,
    onnx_path: Path | str | None,
    batches: Sequence[tuple[Tensor, ...]],
    *,
    algebra: bool = True,
    rounding: bool = True,
    progress: Progress = no_progress,
) -> VerificationReport:
    """Check that a conversion gives the answers of the original.

    Args:
        pruned: Result of :func:`ssn_prune.prune`.
        onnx_path: The exported file; may be None if ``rounding`` is off.
        batches: Inputs of several calls, at least 4 samples in all; the algebra check uses one of
            them, with at least two samples if there is any. :func:`random_batches` makes some.
        algebra: Compare the plan in float64 with the original in float64.
        rounding: Compare the file in ONNX Runtime with the original in float64.
        progress: Called with the name of each step before it starts.

    Returns:
        The measured errors and bounds; look at ``passed``.
    """
    path = Path(onnx_path) if rounding and onnx_path is not None else None
    original = pruned.original
    wanted = path is not None
    first = check_in_float64(
        original, pruned.plan, batches, algebra=algebra, rounding=wanted, progress=progress
    )
    if path is None or first.answers is None:
        return VerificationReport(first.algebra, None)
    progress("verifying: running the file")
    check = compare_file(path, batches, *first.answers)
    if not check.passed:
        check = check_rounding(original, path, batches)  # names the layer
    return VerificationReport(first.algebra, check)


@dataclass(frozen=True)
class FirstChecks:
    """What is known before the file is opened.

    Attributes:
        algebra: The algebra check, if it was asked for.
        answers: What the original gives in float64 and float32, if the file is to be compared.
    """

    algebra: AlgebraCheck | None
    answers: tuple[Outputs, Outputs] | None


def check_in_float64(
    original: nn.Module,
    plan: Plan,
    batches: Sequence[tuple[Any, ...]],
    *,
    algebra: bool,
    rounding: bool,
    progress: Progress = no_progress,
) -> FirstChecks:
    """The algebra check, and the original's answers for :func:`compare_file`, from the same runs.

    Args:
        original: The reference; not changed.
        plan: The plan that makes the pruned network from it.
        batches: Inputs of several calls.
        algebra: Make the algebra check.
        rounding: Collect the answers.
        progress: Told of every step.
    """
    seen = _batch_for_algebra(batches)

    def check(copied: Copier) -> _Wide:
        wide = copied(original)
        outputs: dict[int, list[Tensor]] = {}
        found = None
        # First: a network that keeps a state is then in its first.
        if algebra:
            progress("verifying every layer in float64")
            found, outputs[seen] = compare_in_turns(original, wide, plan, batches[seen])
        if not rounding:
            return _Wide(found, [])
        progress("verifying: running the original in float64")
        for index, batch in enumerate(batches):
            if index not in outputs:
                outputs[index] = run_wide(original, wide, batch)
        return _Wide(found, [outputs[index] for index in range(len(batches))])

    if not (algebra or rounding):
        return FirstChecks(None, None)
    found = in_float64(check)
    if not rounding:
        return FirstChecks(found.algebra, None)
    progress("verifying: running the original in float32")
    return FirstChecks(found.algebra, (found.exact, own_answers(original, batches)))


def _batch_for_algebra(batches: Sequence[tuple[Any, ...]]) -> int:
    """The smallest of those with the most general sizes: float64 takes its time.

    Two samples show whether something is mixed between samples. Where spatial sizes are open, the
    last batch has another one than the network was captured with.
    """
    shapes = [[leaf.shape for leaf in tensor_leaves(batch)] for batch in batches]
    last = len(batches) - 1
    if any([s[1:] for s in shape] != [s[1:] for s in shapes[last]] for shape in shapes):
        return last
    several = [i for i, shape in enumerate(shapes) if all(len(s) and s[0] >= 2 for s in shape)]
    return min(several, key=lambda i: shapes[i][0][0], default=last)


@dataclass(frozen=True)
class _Wide:
    algebra: AlgebraCheck | None
    exact: Outputs

    @property
    def passed(self) -> bool:
        return self.algebra is None or self.algebra.passed


def require_passed(report: VerificationReport) -> None:
    """Raise if a check failed.

    Raises:
        VerificationError: It names the first layer that is off.
    """
    algebra, rounding = report.algebra, report.rounding
    if algebra is not None and not algebra.passed:
        layer = algebra.first_layer_off
        raise VerificationError(
            f"the pruned network is not the original: {_place(layer)}",
            layer=layer,
            expected=f"equal in float64 within {algebra.tolerance:g} of scale, at every layer",
            found=f"output off by {algebra.output_error:.3g} of scale, "
            f"{algebra.worst_layer} by {algebra.worst_layer_error:.3g}",
        )
    if rounding is not None and not rounding.passed:
        layer = rounding.first_layer_off
        agreement = rounding.top1_agreement
        raise VerificationError(
            f"the exported file does not give the original's answers: {_place(layer)}",
            layer=layer,
            expected=f"an error of at most {rounding.bound:.3g} (4 x the original's own float32 "
            f"error {rounding.original_float32_error:.3g} + 1e-6 x {rounding.scale:.3g})"
            + (" and the same top-1 answers" if agreement is not None else ""),
            found=f"an error of {rounding.max_error:.3g}"
            + (f", top-1 agreement {agreement:.1%}" if agreement is not None else ""),
        )


def _place(layer: str | None) -> str:
    return f"first layer that is off: {layer}" if layer else "no single layer could be blamed"
