"""Look at what comes out of named modules during one call."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

import torch
from torch import Tensor, nn

from ssn_prune.surgery.nested import tensor_leaves

Tap = Callable[[str, Tensor], None]
"""Called with the path of a module and what came out of it, which it must copy to keep."""


def run_with_taps(
    model: nn.Module, inputs: tuple[Any, ...], names: Iterable[str], tap: Tap | None
) -> list[Tensor]:
    """Run ``model`` and show the output of every call of the named modules.

    Args:
        model: Any network; its hooks are as before afterwards.
        inputs: Positional inputs.
        names: Paths of modules.
        tap: Called at each call of one of them, in order; None if nothing is looked at.

    Returns:
        The output's tensors.
    """
    handles = []

    def hook_of(name: str) -> Any:
        def hook(_module: nn.Module, _inputs: Any, output: Tensor) -> None:
            if tap is not None:
                tap(name, output.detach())

        return hook

    try:
        for name in names:
            handles.append(model.get_submodule(name).register_forward_hook(hook_of(name)))
        with torch.no_grad():
            return tensor_leaves(model(*inputs))
    finally:
        for handle in handles:
            handle.remove()


class Recording:
    """A tap that keeps everything.

    Attributes:
        values: By name the outputs in call order. Names are in the order in which they first ran; a
            module that did not run is absent.
    """

    def __init__(self) -> None:
        self.values: dict[str, list[Tensor]] = {}

    def __call__(self, name: str, value: Tensor) -> None:
        """Keep an output."""
        # A copy: activations that work in place would overwrite it.
        self.values.setdefault(name, []).append(value.clone())
