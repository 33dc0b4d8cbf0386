"""The hook by which a pruned network refuses sizes for which its folds may be wrong."""

from __future__ import annotations

from typing import Any

import torch
from torch import nn

from ssn_prune.pruning.capture.dynamic_shapes import arguments_by_name
from ssn_prune.pruning.capture.size_conditions import SizeGuard


class SizeCheck:
    """A forward pre-hook that refuses sizes for which a fold may be wrong.

    Args:
        guards: Conditions that must hold.
    """

    def __init__(self, guards: tuple[SizeGuard, ...]) -> None:
        self.guards = guards

    def __call__(self, module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        """Check one call.

        Raises:
            ValueError: A condition does not hold.
        """
        if torch.compiler.is_compiling():
            return  # the sizes are symbols, and the exporter keeps its own conditions
        inputs = arguments_by_name(module, args, kwargs)
        for guard in self.guards:
            if not guard.holds(inputs):
                raise ValueError(
                    f"this network was pruned for inputs with {guard.readable}, since its code or "
                    "its layers depend on that; prune again with an example of the other size"
                )
