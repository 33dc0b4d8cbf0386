"""Record what comes out of named modules during one call."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import torch
from torch import Tensor, nn

from ssn_prune.tensors import tensor_leaves


def run_with_taps(
    model: nn.Module, inputs: tuple[Any, ...], names: Iterable[str]
) -> tuple[list[Tensor], dict[str, list[Tensor]]]:
    """Run ``model`` and record the output of every call of the named modules.

    Args:
        model: Any network; its hooks are as before afterwards.
        inputs: Positional inputs.
        names: Paths of modules.

    Returns:
        The output's tensors, and per name the outputs in call order. Names are listed in the order
        in which they first ran; a module that did not run is absent.
    """
    recorded: dict[str, list[Tensor]] = {}
    handles = []

    def tap(name: str) -> Any:
        def hook(_module: nn.Module, _inputs: Any, output: Tensor) -> None:
            # A copy: activations that work in place would overwrite it.
            recorded.setdefault(name, []).append(output.detach().clone())

        return hook

    try:
        for name in names:
            handles.append(model.get_submodule(name).register_forward_hook(tap(name)))
        with torch.no_grad():
            outputs = tensor_leaves(model(*inputs))
    finally:
        for handle in handles:
            handle.remove()
    return outputs, recorded
