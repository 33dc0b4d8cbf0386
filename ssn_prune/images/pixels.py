"""From a picture to a network's input: crop and resize, then (x / 255 - mean) / std.

The last step is one scale and one shift per channel, each rounded once to float32, so that a file
that contains it computes the same numbers.
"""

from __future__ import annotations

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from ssn_prune.errors import DataError
from ssn_prune.images.preprocessing import Preprocessing

_FILTERS = {
    "bilinear": Image.Resampling.BILINEAR,
    "bicubic": Image.Resampling.BICUBIC,
    "nearest": Image.Resampling.NEAREST,
}
_MODES = {1: "L", 3: "RGB"}


def pixels_of(image: Image.Image, how: Preprocessing) -> Tensor:
    """The picture in the network's size, grey or RGB as the network takes it: uint8, (C, H, W).

    Raises:
        DataError: The network takes neither one nor three channels.
    """
    channels = how.size[0]
    if channels not in _MODES:
        raise DataError(
            f"pictures have 1 or 3 channels, and the network takes {channels}",
            expected="arrays (.npz), or a loader package.module:name",
            found="files of images",
            hint="save the inputs as arrays: numpy.savez('data.npz', images=x, labels=y)",
        )
    framed = _framed(_in_mode(image, _MODES[channels]), how, how.interpolation)
    array = np.array(framed, dtype=np.uint8).reshape(*how.size[1:], channels)
    return torch.from_numpy(array).permute(2, 0, 1).contiguous()


def labels_of(labels: Image.Image, how: Preprocessing) -> Tensor:
    """The same crop of a label map, resized without interpolation: int64, (H, W)."""
    return torch.from_numpy(np.array(_framed(labels, how, "nearest"), dtype=np.int64))


def normalized(pixels: Tensor, how: Preprocessing) -> Tensor:
    """(x / 255 - mean) / std of pixels (N, C, H, W), uint8, in float32: x * scale + shift."""
    scale, shift = affine(how)
    return pixels.float() * scale + shift


def pixels_behind(inputs: Tensor, how: Preprocessing) -> Tensor:
    """The inverse of :func:`normalized`: exactly the pixels that were normalized, uint8."""
    scale, shift = affine(how)
    return ((inputs - shift) / scale).round().clamp(0, 255).to(torch.uint8)


def affine(how: Preprocessing) -> tuple[Tensor, Tensor]:
    """Scale and shift of pixels in 0 ... 255, (C, 1, 1) each, rounded once to float32."""
    mean, std = (torch.tensor(v, dtype=torch.float64).view(-1, 1, 1) for v in (how.mean, how.std))
    return (1 / (255 * std)).float(), (-mean / std).float()


def _framed(image: Image.Image, how: Preprocessing, filter_name: str) -> Image.Image:
    _, height, width = how.size
    used = _FILTERS[filter_name]
    if how.resize is None:
        return image if image.size == (width, height) else image.resize((width, height), used)
    shorter = min(image.size)
    size = tuple(max(how.resize, how.resize * side // shorter) for side in image.size)
    scaled = image if image.size == size else image.resize((size[0], size[1]), used)
    left, top = round((size[0] - width) / 2), round((size[1] - height) / 2)
    return scaled.crop((left, top, left + width, top + height))


def _in_mode(image: Image.Image, mode: str) -> Image.Image:
    if image.mode.startswith("I"):  # 16 bits; Pillow's own conversion clips them at 255
        image = Image.fromarray((np.array(image) // 257).clip(0, 255).astype(np.uint8))
    if "transparency" in image.info:  # Pillow warns about palettes with transparent entries
        image = image.convert("RGBA")
    return image.convert(mode)
