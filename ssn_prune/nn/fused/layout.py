"""How an activation is divided among the programs of a kernel."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

TILE = 4096  # entries that a program holds at a time
WARPS = 8  # of a program that passes over the activation
_THREADS = 32 * WARPS
# Parts of a plane are pooled by unrolled loops, so there are few.
_MOST_PARTS = 8
_PROGRAMS_PER_MULTIPROCESSOR = 6
_TILES_PER_PART = 4
_LINE = 64  # channels: 128 bytes of half precision


@dataclass(frozen=True)
class PlaneLayout:
    """The division of an (N, C, M) view of an activation.

    Attributes:
        channels_last: Whether the channels of a position are neighbours, else the positions.
        block_channels: Channels of a tile, a power of two.
        block_positions: Positions of a tile, a power of two.
        lanes: Threads for each channel of a tile.
        parts: Parts of a plane that are reduced by themselves.
        pieces: Parts of a plane where nothing is reduced.
        rows: Programs along samples and channels.
    """

    channels_last: bool
    block_channels: int
    block_positions: int
    lanes: int
    parts: int
    pieces: int
    rows: int


def power_of_two(value: int) -> int:
    """The smallest power of two that is at least ``value``."""
    return 1 << max(value - 1, 0).bit_length()


def is_channels_last(x: Tensor) -> bool:
    """Whether the channels of a position are neighbours, and nothing is left out."""
    n, c = x.shape[:2]
    expected = c
    for size, stride in zip(reversed(x.shape[2:]), reversed(x.stride()[2:]), strict=True):
        if size != 1 and stride != expected:
            return False
        expected *= size
    return (c == 1 or x.stride(1) == 1) and (n == 1 or x.stride(0) == expected)


def dense(x: Tensor) -> Tensor:
    """The tensor itself if it is contiguous or channels-last, else a contiguous copy."""
    return x if x.is_contiguous() or is_channels_last(x) else x.contiguous()


def laid_out_as(values: Tensor, x: Tensor) -> Tensor:
    """``values`` with the layout of ``x``, which is dense; a copy only if it has another."""
    same = values.is_contiguous() if x.is_contiguous() else is_channels_last(values)
    return values if same else torch.empty_like(x).copy_(values)


def plane_layout(
    sizes: tuple[int, int, int], *, channels_last: bool, multiprocessors: int
) -> PlaneLayout:
    """The division of a dense tensor.

    Args:
        sizes: N, C and M.
        channels_last: Its layout.
        multiprocessors: Those of the device.
    """
    n, c, positions = sizes
    widest = TILE // min(power_of_two(c), _LINE) if channels_last else TILE
    block_positions = min(power_of_two(positions), widest)
    block_channels = min(power_of_two(c), TILE // block_positions)
    rows = n * -(-c // block_channels)
    wanted = -(-multiprocessors * _PROGRAMS_PER_MULTIPROCESSOR // rows)
    tiles = -(-positions // block_positions)
    return PlaneLayout(
        channels_last,
        block_channels,
        block_positions,
        max(1, _THREADS // block_channels),
        parts=max(1, min(wanted, tiles // _TILES_PER_PART, _MOST_PARTS)),
        pieces=max(1, min(2 * wanted, tiles // _TILES_PER_PART)),
        rows=rows,
    )
