"""Inputs of other spatial sizes, to verify files whose sizes are dynamic."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.utils import _pytree as pytree

from ssn_prune.onnx_export.dynamic_axes import accepted_sizes, fixed_size_error
from ssn_prune.pruning.prune import PruneResult

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
