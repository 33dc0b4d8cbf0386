"""Other spatial sizes: inputs to verify files whose sizes are dynamic, and what a failure means."""

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

OTHER_SIZES = 3


def batches_of_other_sizes(pruned: PruneResult, inputs: tuple[Any, ...]) -> list[tuple[Any, ...]]:
    """Standard normal inputs of other sizes that meet the conditions of a pruned network.

    Args:
        pruned: The network.
        inputs: Inputs of one call.

    Raises:
        ExportError: It accepts no other size.
    """
    others = accepted_sizes(pruned.original, inputs, pruned.guards)
    if not others:
        raise fixed_size_error(pruned.guards)
    generator = torch.Generator().manual_seed(1)

    def drawn(leaf: Any) -> Any:
        return torch.randn(leaf.shape, generator=generator) if isinstance(leaf, Tensor) else leaf

    return [pytree.tree_map(drawn, other) for other in others[:OTHER_SIZES]]


def check_every_size(
    check: Callable[[Sequence[tuple[Any, ...]], ReferenceOutputs], RoundingCheck],
    batches: Sequence[tuple[Any, ...]],
    outputs: ReferenceOutputs,
) -> RoundingCheck:
    """Compare a file with the reference, the sizes of the example and others.

    Args:
        check: Compares the file with the reference on some batches.
        batches: Inputs of several calls; those of the example's size come first.
        outputs: What the reference gives for them.

    Raises:
        VerificationError: It is right at the size of the example only.
        InferenceRuntimeError: The runtime cannot run it, at the size of the example either.
    """
    try:
        found = check(batches, outputs)
        if found.passed:
            return found
        wrong = f"an error of {found.max_error:.3g} at {found.output} (allowed {found.bound:.3g})"
    except InferenceRuntimeError as error:
        found, wrong = None, str(error.found)
    first = [leaf.shape[1:] for leaf in tensor_leaves(batches[0])]
    alike = [[leaf.shape[1:] for leaf in tensor_leaves(batch)] == first for batch in batches]
    count = alike.index(False) if False in alike else len(batches)
    own = ReferenceOutputs(outputs.exact[:count], tuple(run[:count] for run in outputs.float32))
    at_example = check(batches[:count], own)
    if not at_example.passed or count == len(batches):
        return found or at_example
    raise VerificationError(
        "the exported file is right at the size of the example, but not at other sizes",
        layer=None,
        expected="the original's outputs at every size",
        found=wrong,
        hint='nothing was written; convert once per size, with `dynamic="batch"`: some operator of '
        "the network was exported with the size of the example",
    )
