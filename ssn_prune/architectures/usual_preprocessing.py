"""How the images were prepared that a library's network was trained with."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal


@dataclass(frozen=True)
class UsualPreprocessing:
    """What a library says of a network's inputs.

    Attributes:
        mean: Subtracted from values in [0, 1], one number a channel.
        std: Divides the difference.
        crop: The share of the shorter side that the network sees; None for the whole image.
        interpolation: The filter.
    """

    mean: tuple[float, ...]
    std: tuple[float, ...]
    crop: float | None = None
    interpolation: Literal["bilinear", "bicubic"] = "bilinear"
