"""How an activation is divided among the programs of a kernel."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

# Entries that a program holds at a time, and its warps: a reduction keeps two sums per entry.
_REDUCED, REDUCING_WARPS = 2048, 4
_MAPPED, MAPPING_WARPS = 4096, 8
# Parts of a plane are pooled by unrolled loops, so there are few.
_MOST_PARTS = 8
_PROGRAMS_PER_MULTIPROCESSOR = 6
_TILES_PER_PART = 4
_LINE = 64  # channels: 128 bytes of half precision


@dataclass(frozen=True)
class Tiles:
    """How the programs of one kind divide an (N, C, M) view of an activation.

    Attributes:
        channels: Channels of a tile, a power of two.
        positions: Positions of a tile, a power of two.
        rows: Programs along samples and channels.
        parts: Programs along the positions of a plane.
        lanes: Threads for each channel of a tile.
    """

    channels: int
    positions: int
    rows: int
    parts: int
    lanes: int


def power_of_two(value: int) -> int:
    """The smallest power of two that is at least ``value``."""
    return 1 << max(value - 1, 0).bit_length()


def is_channels_last(x: Tensor) -> bool:
    """Whether the channels of a position are neighbours in memory, without gaps."""
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


def reducing_tiles(
    sizes: tuple[int, int, int], *, channels_last: bool, multiprocessors: int
) -> Tiles:
    """The division for kernels that reduce.

    Args:
        sizes: N, C and M.
        channels_last: The layout of the activation.
        multiprocessors: Number of the device's multiprocessors.
    """
    wanted = multiprocessors * _PROGRAMS_PER_MULTIPROCESSOR
    return _tiles(sizes, channels_last, wanted, _REDUCED, REDUCING_WARPS, _MOST_PARTS)


def mapping_tiles(
    sizes: tuple[int, int, int], *, channels_last: bool, multiprocessors: int
) -> Tiles:
    """The division for kernels that map every entry; see :func:`reducing_tiles`."""
    wanted = 2 * multiprocessors * _PROGRAMS_PER_MULTIPROCESSOR
    return _tiles(sizes, channels_last, wanted, _MAPPED, MAPPING_WARPS, wanted)


def _tiles(
    sizes: tuple[int, int, int],
    channels_last: bool,
    wanted: int,
    entries: int,
    warps: int,
    most_parts: int,
) -> Tiles:
    n, c, positions = sizes
    widest = entries // min(power_of_two(c), _LINE) if channels_last else entries
    block_positions = min(power_of_two(positions), widest)
    block_channels = min(power_of_two(c), entries // block_positions)
    rows = n * -(-c // block_channels)
    tiles = -(-positions // block_positions)
    parts = max(1, min(-(-wanted // rows), tiles // _TILES_PER_PART, most_parts))
    return Tiles(block_channels, block_positions, rows, parts, max(1, 32 * warps // block_channels))
