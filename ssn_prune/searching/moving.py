"""Shift and scale images slightly, so that they are new to a network."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn import functional as F


def can_move(shapes: Sequence[Sequence[int]]) -> bool:
    """Whether all inputs are images of one size, so that they can be moved alike.

    Args:
        shapes: The shapes of the inputs of one call, with the batch axis.
    """
    return all(len(shape) == 4 for shape in shapes) and len({shape[2:] for shape in shapes}) == 1


def moved(
    inputs: tuple[Tensor, ...], shift: float, scale: float, generator: torch.Generator
) -> tuple[Tensor, ...]:
    """Shift and scale each sample at random, with border padding and all its images alike.

    Args:
        inputs: (N, C, H, W) each, with the same H and W. Others are returned unchanged, and all of
            them: an image that moves alone no longer belongs to the rest of its sample.
        shift: The largest shift, as a share of the width or height.
        scale: The largest change of the size, as a share of the size.
        generator: A generator on the CPU.
    """
    if not can_move([tuple(tensor.shape) for tensor in inputs]):
        return inputs
    count = len(inputs[0])
    drawn = 2 * torch.rand((count, 3), generator=generator) - 1
    theta = torch.zeros((count, 2, 3), dtype=inputs[0].dtype)
    theta[:, 0, 0] = theta[:, 1, 1] = 1 + scale * drawn[:, 0]
    theta[:, :, 2] = 2 * shift * drawn[:, 1:]
    grid = F.affine_grid(theta, list(inputs[0].shape), align_corners=False)
    return tuple(
        F.grid_sample(images, grid, padding_mode="border", align_corners=False) for images in inputs
    )
