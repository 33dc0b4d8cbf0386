"""How a picture is prepared for a network; :mod:`ssn_prune.images.pixels` prepares it."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, get_args

from ssn_prune.architectures.usual_preprocessing import UsualPreprocessing
from ssn_prune.errors import ArgumentError

Interpolation = Literal["bilinear", "bicubic"]


@dataclass(frozen=True)
class Preprocessing:
    """How a picture becomes an input.

    Attributes:
        size: (C, H, W) of the input.
        mean: Subtracted from values in [0, 1], one number per channel.
        std: Divides the difference, one number per channel.
        resize: Length of the shorter side before the central H x W pixels are cropped; None if the
            whole picture is resized to H x W.
        interpolation: Pillow's filter; it antialiases, averaging all pixels that become one.

    Raises:
        ArgumentError: The numbers do not fit each other, or the interpolation is unknown.
    """

    size: tuple[int, int, int]
    mean: tuple[float, ...]
    std: tuple[float, ...]
    resize: int | None = None
    interpolation: Interpolation = "bilinear"

    def __post_init__(self) -> None:
        channels, height, width = self.size
        _require_numbers("mean", self.mean, channels)
        _require_numbers("std", self.std, channels)
        if min(self.std) <= 0:
            raise ArgumentError(
                "a standard deviation is not positive",
                expected="numbers above 0, in units of the largest value of a pixel",
                found=f"`std={self.std}`",
                hint="leave `std=` out for the architecture's own, or pass `std=1`",
            )
        if self.resize is not None and self.resize < max(height, width):
            raise ArgumentError(
                f"images whose shorter side is {self.resize} have no part of {height}x{width}",
                expected=f"`resize={max(height, width)}` or more",
                found=f"`resize={self.resize}`",
                hint=f"pass `resize={max(height, width)}`, or leave it out",
            )
        if self.interpolation not in get_args(Interpolation):
            raise ArgumentError(
                f"unknown interpolation {self.interpolation!r}",
                expected=" or ".join(get_args(Interpolation)),
                found=repr(self.interpolation),
                hint="leave it out, which means bilinear",
            )


def preprocessing_for(
    size: tuple[int, ...],
    usual: UsualPreprocessing | None,
    *,
    mean: Sequence[float] | None = None,
    std: Sequence[float] | None = None,
    resize: int | None = None,
) -> Preprocessing | None:
    """The given settings, completed by the usual ones of the architecture.

    Args:
        size: The size of the network's only input, (C, H, W).
        usual: What a library says; None if nothing is known.
        mean: One number, or one per channel.
        std: One number, or one per channel.
        resize: Length of the shorter side before the central part is cropped.

    Returns:
        The preprocessing; None if the network takes no images, or no mean and standard deviation
        are given or known.

    Raises:
        ArgumentError: The numbers do not fit, or only one of ``mean`` and ``std`` is known.
    """
    if len(size) != 3:
        return None
    channels, height, width = size
    if usual is not None and len(usual.mean) != channels:  # not the library's own kind of input
        usual = None
    mean = mean or (None if usual is None else usual.mean)
    std = std or (None if usual is None else usual.std)
    if mean is None and std is None:
        return None
    if mean is None or std is None:
        raise ArgumentError(
            "a mean and a standard deviation belong together",
            expected="`mean=` and `std=`",
            found="one of them",
            hint="pass both, such as `mean=0.5` and `std=0.5`",
        )
    if resize is None and usual is not None and usual.crop:
        side = max(height, width)
        resize = max(side, math.floor(side / usual.crop))  # a few libraries' crops exceed 1
    return Preprocessing(
        (channels, height, width),
        _per_channel(mean, channels),
        _per_channel(std, channels),
        resize,
        "bilinear" if usual is None else usual.interpolation,
    )


def _per_channel(values: Sequence[float], channels: int) -> tuple[float, ...]:
    if len(values) == 1 or len(set(values)) == 1:
        return (float(values[0]),) * channels
    return tuple(float(value) for value in values)


def _require_numbers(name: str, values: tuple[float, ...], channels: int) -> None:
    if len(values) != channels or not all(math.isfinite(value) for value in values):
        raise ArgumentError(
            f"the {name} is not one number for each channel",
            expected=f"{channels} finite numbers, in units of the largest value of a pixel",
            found=f"{name} {values}",
            hint="pass one number for all channels, such as `mean=0.5` and `std=0.5`",
        )
