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
    *,
    stated: bool = False,
) -> list[tuple[int, ...]]:
    """The size of each input; no sizes if nothing is given or known; see :func:`input_size_of`.

    Several sizes are taken as they are, with channels, since inputs may differ in their axes.
    """
    several = [size for size in given or () if isinstance(size, tuple)]
    if len(several) > 1:
        return several
    single = several[0] if several else tuple(n for n in given or () if isinstance(n, int))
    size = input_size_of(model, single or None, known, stated=stated)
    return [] if size is None else [size]


def input_size_of(
    model: nn.Module,
    given: tuple[int, ...] | None,
    known: tuple[int, ...] | None,
    *,
    stated: bool = False,
) -> tuple[int, ...] | None:
    """Find the size of one input without its batch axis.

    Args:
        model: The network. The number of spatial axes is the largest that one of its convolutions
            or switchable layers has; the first such convolution gives the number of channels.
        given: The user's size, with or without channels. One number stands for all spatial sizes,
            or for the number of features of a network on vectors.
        known: The network's usual size, used if nothing is given.
        stated: Whether ``known`` is the network's own attribute. Its channels then count, and not
            those of the first convolution, which may follow an operation that changes them.

    Returns:
        Channels and spatial sizes, (C, H, W) for images; (C,) for a network on feature vectors;
        None if there is neither ``given`` nor ``known``.

    Raises:
        ArgumentError: The size has another number of axes than the network.
    """
    size = given or known
    if size is None:
        return None
    spatial, first = _spatial_axes(model)
    vectors = takes_vectors(model)
    if len(size) == 1:
        size = size * spatial
    if len(size) not in (spatial, spatial + 1) or any(value < 1 for value in size):
        raise ArgumentError(
            f"{size} is not an input size",
            expected=f"({'C' if vectors else _AXES[spatial]}) or (C, {_AXES[spatial]}), all "
            "positive",
            found=f"`input_size={size}`",
            hint=f"for example `input_size={(64,) if vectors else _EXAMPLES[spatial]}`",
        )
    if len(size) == spatial and not vectors:
        channels = first.in_channels if first is not None else 3
        if stated and known is not None and len(known) == spatial + 1:
            channels = known[0]
        size = (channels, *size)
    elif given is None and first is not None and not stated:
        size = (first.in_channels, *size[1:])  # arch_args may have changed the usual number
    return tuple(int(value) for value in size)


def takes_vectors(model: nn.Module) -> bool:
    """Whether a network takes (N, C) inputs: no convolution, and no layer over more axes."""
    spatial, first = _spatial_axes(model)
    return spatial == 1 and first is None


def _spatial_axes(model: nn.Module) -> tuple[int, _ConvNd | None]:
    """The number of spatial axes, and the first convolution with that number."""
    convs = [m for m in model.modules() if isinstance(m, _ConvNd)]
    axes = [len(conv.kernel_size) for conv in convs]
    axes += [max(m.dims) - 2 for m in model.modules() if isinstance(m, SwitchableNorm)]
    spatial = max(axes, default=2)
    return spatial, next((conv for conv in convs if len(conv.kernel_size) == spatial), None)
