"""How images become inputs, in words."""

from __future__ import annotations

from ssn_prune.images.preprocessing import Preprocessing


def resizing_text(how: Preprocessing) -> str:
    """How images are resized and cropped."""
    _, height, width = how.size
    if how.resize is None:
        return f"resized to {height}x{width} ({how.interpolation})"
    side = f"{how.resize} ({how.interpolation})"
    return f"resized to a shorter side of {side} and cropped to the central {height}x{width}"


def normalization_text(how: Preprocessing) -> str:
    """The formula that is applied to pixels x."""
    return f"(x / 255 - {_numbers(how.mean)}) / {_numbers(how.std)}"


def _numbers(values: tuple[float, ...]) -> str:
    if len(set(values)) == 1:
        return f"{values[0]:g}"
    return f"[{', '.join(f'{value:g}' for value in values)}]"
