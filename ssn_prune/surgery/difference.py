"""What is different in a layer whose output differs, on the very input that it got."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from ssn_prune.surgery.float64 import float64_arithmetic, float64_copy
from ssn_prune.surgery.nested import to_dtype
from ssn_prune.surgery.other_formulas import Sample, explanation
from ssn_prune.surgery.probing import eps_candidates


def difference_at(
    given: nn.Module, adopted: nn.Module, inputs: tuple[Any, ...], name: str, call: int
) -> str | None:
    """Run the given network again and look at one call of one layer.

    Args:
        given: The network as it was built and loaded; not changed.
        adopted: The network with layers of ssn_prune; not changed.
        inputs: Inputs of one call of the network.
        name: Path of the layer.
        call: Which of its calls.

    Returns:
        A clause such as "the gates' order is (BN, IN, LN)"; None if no known formula fits.
    """
    calls: list[tuple[Tensor, Tensor]] = []

    def record(_: nn.Module, arguments: tuple[Any, ...], output: Any) -> None:
        calls.append((arguments[0].clone(), output.clone()))

    try:
        copied = float64_copy(given)
        copied.get_submodule(name).register_forward_hook(record, prepend=True)
        with torch.no_grad(), float64_arithmetic():
            copied(*to_dtype(inputs, torch.float64))
        x, expected = calls[call]
        layer: Any = float64_copy(adopted.get_submodule(name))
        eps = eps_candidates(given.get_submodule(name))
        return explanation([Sample(layer, x, expected)], eps)
    # This is somebody else's code; an explanation is welcome, but not needed.
    except Exception:  # noqa: BLE001
        return None
