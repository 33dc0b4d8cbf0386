"""Inputs of other sizes, to verify files with dynamic sizes, and what a failure at some means."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor
from torch.utils import _pytree as pytree

from ssn_prune.errors import InferenceRuntimeError, VerificationError
from ssn_prune.onnx_export.dynamic_axes import accepted_sizes, fixed_size_error
from ssn_prune.pruning.prune import PruneResult
from ssn_prune.surgery.nested import tensor_leaves
from ssn_prune.verification.reference_outputs import ReferenceOutputs
from ssn_prune.verification.results import RoundingCheck

Check = Callable[[Sequence[tuple[Any, ...]], ReferenceOutputs], RoundingCheck]

OTHER_SIZES = 3


def batches_of_other_sizes(pruned: PruneResult, inputs: tuple[Any, ...]) -> list[tuple[Any, ...]]:
    """Standard normal inputs of other sizes that meet the conditions of a pruned network.

    Args:
        pruned: The network.
        inputs: Inputs of one call.

    Raises:
        ExportError: The network accepts no other size.
    """
    others = accepted_sizes(pruned.original, inputs, pruned.guards)
    if not others:
        raise fixed_size_error(pruned.guards)
    generator = torch.Generator().manual_seed(1)

    def drawn(leaf: Any) -> Any:
        return torch.randn(leaf.shape, generator=generator) if isinstance(leaf, Tensor) else leaf

    return [pytree.tree_map(drawn, other) for other in others[:OTHER_SIZES]]


def check_every_size(
    check: Check,
    batches: Sequence[tuple[Any, ...]],
    outputs: ReferenceOutputs,
) -> RoundingCheck:
    """Compare a file with the reference at the size of the example and at other sizes.

    Args:
        check: Compares the file with the reference on some batches.
        batches: Inputs of several calls; those of the example's size come first.
        outputs: Outputs of the reference for them.

    Raises:
        VerificationError: The file is right at the size of the example only, or at every batch size
            but 1: torch.export records no condition for a branch on a batch size of 1. An error of
            rounding is not blamed on a size.
        InferenceRuntimeError: The runtime cannot run it, not even at the size of the example.
    """
    try:
        found = check(batches, outputs)
    except InferenceRuntimeError as error:
        _require_no_cause(check, batches, outputs, str(error.found))
        raise
    if not found.passed and not found.near:
        wrong = f"an error of {found.max_error:.3g} at {found.output} (allowed {found.bound:.3g})"
        _require_no_cause(check, batches, outputs, wrong)
    return found


def _require_no_cause(
    check: Check,
    batches: Sequence[tuple[Any, ...]],
    outputs: ReferenceOutputs,
    wrong: str,
) -> None:
    """Raise an error that blames some of the sizes, if the file is right at all others."""
    first = _sizes(batches[0])
    if _right(check, batches, outputs, [i for i, b in enumerate(batches) if _sizes(b) == first]):
        raise VerificationError(
            "the exported file is right at the size of the example, but not at other sizes",
            layer=None,
            expected="the original's outputs at every size",
            found=wrong,
            hint="nothing was written; convert once per size, with `dynamic='batch'`: some "
            "operator of the network was exported with the size of the example",
        )
    if _right(check, batches, outputs, [i for i, b in enumerate(batches) if not _single(b)]):
        raise VerificationError(
            "the exported file is right at other batch sizes, but not at 1",
            layer=None,
            expected="the original's outputs at every batch size",
            found=wrong,
            hint="nothing was written; the network's code does something else for one sample: "
            "convert once per batch size, with `static_batch=1`, or take that branch out",
        )


def _right(
    check: Check,
    batches: Sequence[tuple[Any, ...]],
    outputs: ReferenceOutputs,
    chosen: Sequence[int],
) -> bool:
    """Whether a file is right on the chosen batches; False if these are none or all."""
    if not 0 < len(chosen) < len(batches):
        return False
    some = ReferenceOutputs(
        [outputs.exact[i] for i in chosen],
        tuple([run[i] for i in chosen] for run in outputs.float32),
    )
    try:
        return check([batches[i] for i in chosen], some).passed
    except InferenceRuntimeError:
        return False


def _sizes(batch: tuple[Any, ...]) -> list[torch.Size]:
    return [leaf.shape[1:] for leaf in tensor_leaves(batch)]


def _single(batch: tuple[Any, ...]) -> bool:
    return any(len(leaf.shape) > 0 and leaf.shape[0] == 1 for leaf in tensor_leaves(batch))
