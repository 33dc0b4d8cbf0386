"""The meaning of the names of concrete normalizers."""

from __future__ import annotations

from collections.abc import Iterable

MEANINGS = {
    "Identity": "nothing is left",
    "BatchNorm": "running statistics: one scale and one shift per channel",
    "InstanceNorm": "mean and variance of each channel of an image",
    "GroupNorm": "mean and variance of a whole image",
    "MomentNorm": "a mean and a variance of different kinds",
    "InstanceCentre": "subtracts the mean of each channel",
    "LayerCentre": "subtracts the mean of the whole image",
}
"""Meanings by the name of the class, without its dimensions."""


def legend(forms: Iterable[str | None]) -> dict[str, str]:
    """The meanings of the given forms, by their full names.

    Args:
        forms: Class names, such as ``InstanceCentre2d``.
    """
    named = sorted({form for form in forms if form is not None})
    return {name: MEANINGS[kind] for name in named if (kind := name.rstrip("123d")) in MEANINGS}
