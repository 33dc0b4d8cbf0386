"""From the bytes of image files to pictures, and from pictures to small PNG files."""

from __future__ import annotations

import io
import warnings

import numpy as np
from PIL import Image, UnidentifiedImageError
from torch import Tensor

from ssn_prune.images.archives import FileTree, unreadable

SUFFIXES = (".jpg", ".jpeg", ".png", ".webp", ".bmp")
_FORMATS = ("JPEG", "PNG", "WEBP", "BMP")  # Pillow knows formats that start other programs
_MAX_PIXELS = 1 << 26
_PREVIEW = 48


def is_image(name: str) -> bool:
    """Whether a file's name says that it is an image."""
    return name.lower().endswith(SUFFIXES)


def decoded(files: FileTree, name: str) -> Image.Image:
    """Read and decode a whole image.

    Raises:
        DataError: It is damaged, of another format, or has more than 67 million pixels.
    """
    data = files.read(name)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # about sizes that are refused below, and metadata
            image = Image.open(io.BytesIO(data), formats=_FORMATS)
            width, height = image.size
            if width * height <= _MAX_PIXELS:
                image.load()
    # Pillow's decoders raise whatever a damaged file leads to.
    except Exception as error:
        raise unreadable(files.path, name, _reason(error)) from error
    if width * height > _MAX_PIXELS:
        raise unreadable(files.path, name, f"an image of {width} x {height} pixels")
    return image


def _reason(error: Exception) -> str:
    if isinstance(error, UnidentifiedImageError):
        return "a file of another format"
    return str(error) or type(error).__name__


def small_png(image: Tensor) -> bytes | None:
    """A picture of at most 48 x 48 pixels.

    Args:
        image: (C, H, W), uint8; or floating, scaled so that the smallest value becomes black.

    Returns:
        The picture as PNG; None if it has neither one nor three channels.
    """
    if image.dim() != 3 or image.shape[0] not in (1, 3):
        return None
    array = image.permute(1, 2, 0).double().numpy()
    if image.is_floating_point():
        low, high = np.nanmin(array), np.nanmax(array)
        array = (array - low) / max(high - low, 1e-12) * 255
    pixels = np.nan_to_num(array).clip(0, 255).astype(np.uint8)
    picture = Image.fromarray(pixels[..., 0] if image.shape[0] == 1 else pixels)
    picture.thumbnail((_PREVIEW, _PREVIEW))
    written = io.BytesIO()
    picture.save(written, "PNG", optimize=True)
    return written.getvalue()
