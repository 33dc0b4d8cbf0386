"""From a picture to a network's input: its part and size, then (x / 255 - mean) / std."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, get_args

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from ssn_prune.architectures.usual_preprocessing import UsualPreprocessing
from ssn_prune.errors import ArgumentError, DataError

Interpolation = Literal["bilinear", "bicubic"]
_FILTERS = {
    "bilinear": Image.Resampling.BILINEAR,
    "bicubic": Image.Resampling.BICUBIC,
    "nearest": Image.Resampling.NEAREST,
}
_MODES = {1: "L", 3: "RGB"}


@dataclass(frozen=True)
class Preprocessing:
    """How a picture becomes an input.

    Attributes:
        size: (C, H, W) of the input.
        mean: Subtracted from values in [0, 1], one number a channel.
        std: Divides the difference, one number a channel.
        resize: Length of the shorter side before the central H x W are cut out; None if the whole
            picture is resized to H x W.
        interpolation: Filter of Pillow, which averages over what becomes one pixel.

    Raises:
        ArgumentError: The numbers do not fit each other.
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

    def pixels(self, image: Image.Image) -> Tensor:
        """Grey or equal channels as the network takes them, in its size: uint8, (C, H, W).

        Raises:
            DataError: The network takes neither one nor three channels.
        """
        channels = self.size[0]
        if channels not in _MODES:
            raise DataError(
                f"pictures have 1 or 3 channels, and the network takes {channels}",
                expected="arrays (.npz), or a loader package.module:name",
                found="files of images",
                hint="save the inputs as arrays: numpy.savez('data.npz', images=x, labels=y)",
            )
        framed = self._framed(_in_mode(image, _MODES[channels]), self.interpolation)
        array = np.array(framed, dtype=np.uint8).reshape(*self.size[1:], channels)
        return torch.from_numpy(array).permute(2, 0, 1).contiguous()

    def label_map(self, labels: Image.Image) -> Tensor:
        """The same part of a map of labels, without mixing them: int64, (H, W)."""
        return torch.from_numpy(np.array(self._framed(labels, "nearest"), dtype=np.int64))

    def normalized(self, pixels: Tensor) -> Tensor:
        """(x / 255 - mean) / std in float32 of uint8 pixels (N, C, H, W), as x * scale + shift."""
        scale, shift = self.affine()
        axes = (-1, 1, 1)
        return pixels.float() * scale.view(axes) + shift.view(axes)

    def affine(self) -> tuple[Tensor, Tensor]:
        """Scale and shift of pixels in 0 ... 255, one a channel, each rounded once to float32."""
        mean, std = (torch.tensor(v, dtype=torch.float64) for v in (self.mean, self.std))
        return (1 / (255 * std)).float(), (-mean / std).float()

    def _framed(self, image: Image.Image, filter_name: str) -> Image.Image:
        _, height, width = self.size
        used = _FILTERS[filter_name]
        if self.resize is None:
            return image if image.size == (width, height) else image.resize((width, height), used)
        shorter = min(image.size)
        size = tuple(max(self.resize, self.resize * side // shorter) for side in image.size)
        scaled = image if image.size == size else image.resize((size[0], size[1]), used)
        left, top = round((size[0] - width) / 2), round((size[1] - height) / 2)
        return scaled.crop((left, top, left + width, top + height))


def preprocessing_for(
    size: tuple[int, ...],
    usual: UsualPreprocessing | None,
    *,
    mean: Sequence[float] | None = None,
    std: Sequence[float] | None = None,
    resize: int | None = None,
) -> Preprocessing | None:
    """What is given, completed by what the architecture is known for.

    Args:
        size: Of the network's only input, (C, H, W).
        usual: What a library says; None if nothing is known.
        mean: One number, or one a channel.
        std: One number, or one a channel.
        resize: Length of the shorter side before the central part is cut out.

    Returns:
        None if the network takes no images, or nothing is given or known.

    Raises:
        ArgumentError: The numbers do not fit, or only one of ``mean`` and ``std`` is known.
    """
    if len(size) != 3:
        return None
    channels, height, width = size
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
        resize = math.floor(max(height, width) / usual.crop)
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


def _in_mode(image: Image.Image, mode: str) -> Image.Image:
    if image.mode.startswith("I"):  # 16 bits; Pillow's own conversion cuts them off at 255
        image = Image.fromarray((np.array(image) // 257).clip(0, 255).astype(np.uint8))
    if "transparency" in image.info:  # it warns of palettes with transparent entries
        image = image.convert("RGBA")
    return image.convert(mode)
