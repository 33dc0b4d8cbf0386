"""The size of one input of a network: given in full, or completed by its number of channels."""

from __future__ import annotations

from torch import nn
from torch.nn.modules.conv import _ConvNd

from ssn_prune.errors import ArgumentError
from ssn_prune.nn.switchable import SwitchableNorm

_AXES = {1: "L", 2: "H, W", 3: "D, H, W"}
_EXAMPLES = {1: (1, 128), 2: (1, 28, 28), 3: (3, 16, 112, 112)}


def each_input(
    model: nn.Module,
    given: tuple[int, ...] | tuple[tuple[int, ...], ...] | None,
    known: tuple[int, ...] | None,
) -> list[tuple[int, ...]]:
    """The size of each input; no sizes if nothing is given or known.

    Several sizes are taken as they are, with channels, since inputs may differ in their axes.
    """
    several = [size for size in given or () if isinstance(size, tuple)]
    if len(several) > 1:
        return several
    single = several[0] if several else tuple(n for n in given or () if isinstance(n, int))
    size = input_size_of(model, single or None, known)
    return [] if size is None else [size]


def input_size_of(
    model: nn.Module, given: tuple[int, ...] | None, known: tuple[int, ...] | None
) -> tuple[int, ...] | None:
    """Find the size of one input without its batch axis.

    Args:
        model: The network. The number of spatial axes is the largest that a convolution or a
            switchable layer of it has; the first such convolution gives the number of channels.
        given: What the user says, with or without channels.
        known: What the network is known for, if nothing is given.

    Returns:
        Channels and spatial sizes, (C, H, W) for images; (C,) for a network on feature vectors;
        None if there is neither ``given`` nor ``known``.

    Raises:
        ArgumentError: The size has another number of axes than the network.
    """
    size = given or known
    if size is None:
        return None
    convs = [m for m in model.modules() if isinstance(m, _ConvNd)]
    axes = [len(conv.kernel_size) for conv in convs]
    axes += [max(m.dims) - 2 for m in model.modules() if isinstance(m, SwitchableNorm)]
    spatial = max(axes, default=2)
    first = next((conv for conv in convs if len(conv.kernel_size) == spatial), None)
    vectors = spatial == 1 and first is None  # (N, C) after linear layers
    if len(size) not in (spatial, spatial + 1) or any(value < 1 for value in size):
        raise ArgumentError(
            f"{size} is not an input size",
            expected=f"({_AXES[spatial]}) or (C, {_AXES[spatial]}), all positive",
            found=f"`input_size={size}`",
            hint=f"for example `input_size={_EXAMPLES[spatial]}`",
        )
    if len(size) == spatial and not vectors:
        size = (first.in_channels if first is not None else 3, *size)
    elif given is None and first is not None:
        size = (first.in_channels, *size[1:])  # arch_args may have changed the usual number
    return tuple(int(value) for value in size)
