"""How the training images of a library's network were prepared."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal


@dataclass(frozen=True)
class UsualPreprocessing:
    """What a library says about a network's inputs.

    Attributes:
        mean: Subtracted from values in [0, 1], one number per channel.
        std: Divides the difference, one number per channel.
        crop: The share of the shorter side that the network sees; None for the whole image.
        interpolation: The filter for resizing.
    """

    mean: tuple[float, ...]
    std: tuple[float, ...]
    crop: float | None = None
    interpolation: Literal["bilinear", "bicubic"] = "bilinear"
