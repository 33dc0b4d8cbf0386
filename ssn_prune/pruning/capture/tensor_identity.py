"""Tensors identified by the memory they occupy, because names are ambiguous."""

from __future__ import annotations

from torch import Tensor, nn


def named_tensors(model: nn.Module) -> list[tuple[str, Tensor]]:
    """Parameters and buffers under all of their names."""
    return [
        *model.named_parameters(remove_duplicate=False),
        *model.named_buffers(remove_duplicate=False),
    ]


def memory_ids(model: nn.Module) -> dict[int, int]:
    """Number the tensors of ``model``; tensors that overlap in memory share a number.

    Returns:
        Memory id by ``id(tensor)``, over all parameters and buffers.
    """
    spans = []
    for _, tensor in named_tensors(model):
        start = tensor.data_ptr()
        extent = sum((n - 1) * s for n, s in zip(tensor.shape, tensor.stride(), strict=True)) + 1
        size = extent * tensor.element_size() if tensor.numel() else 0
        spans.append((str(tensor.device), start, start + size, id(tensor)))
    result: dict[int, int] = {}
    number, device, end = -1, "", -1
    for where, start, stop, key in sorted(spans):
        if where != device or start >= end or start == stop:
            number, device, end = number + 1, where, stop
        end = max(end, stop)
        result[key] = number
    return result
