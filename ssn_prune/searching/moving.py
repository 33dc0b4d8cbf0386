"""Shift and scale images slightly, so that they are new to a network."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F


def moved(images: Tensor, shift: float, scale: float, generator: torch.Generator) -> Tensor:
    """Shift and scale each image at random, with border padding.

    Args:
        images: (N, C, H, W); tensors with other dimensions are returned unchanged.
        shift: The largest shift, as a share of the width or height.
        scale: The largest change of the size, as a share of the size.
        generator: A generator on the CPU.
    """
    if images.dim() != 4:
        return images
    count = len(images)
    drawn = 2 * torch.rand((count, 3), generator=generator) - 1
    theta = torch.zeros((count, 2, 3), dtype=images.dtype)
    theta[:, 0, 0] = theta[:, 1, 1] = 1 + scale * drawn[:, 0]
    theta[:, :, 2] = 2 * shift * drawn[:, 1:]
    grid = F.affine_grid(theta, list(images.shape), align_corners=False)
    return F.grid_sample(images, grid, padding_mode="border", align_corners=False)
