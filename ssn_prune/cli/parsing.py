"""Parse the values of options: JSON arguments, names, numbers and input sizes."""

from __future__ import annotations

import json
from typing import Any

from ssn_prune.errors import ArgumentError


def parse_arguments(text: str | None) -> dict[str, Any]:
    """Parse ``--arch-args``.

    Raises:
        ArgumentError: It is not a JSON object.
    """
    if text is None:
        return {}
    try:
        value = json.loads(text)
    except json.JSONDecodeError as error:
        raise ArgumentError(
            "--arch-args is not JSON",
            expected="a JSON object such as '{\"num_classes\": 10}'",
            found=f"{text!r} ({error.msg} at character {error.pos})",
            hint="put the object in single quotes for the shell",
        ) from error
    if not isinstance(value, dict):
        raise ArgumentError(
            "--arch-args is not a JSON object",
            expected="an object such as '{\"num_classes\": 10}'",
            found=repr(text),
            hint="name each argument",
        )
    return value


def parse_names(text: str | None) -> tuple[str, ...] | None:
    """Parse ``--input-names`` and ``--output-names``: names separated by commas."""
    return None if text is None else tuple(name.strip() for name in text.split(","))


def parse_numbers(option: str, text: str | None) -> tuple[float, ...] | None:
    """Parse ``--mean`` and ``--std``: numbers separated by commas.

    Raises:
        ArgumentError: They are not numbers.
    """
    if text is None:
        return None
    try:
        return tuple(float(part) for part in text.split(","))
    except ValueError as error:
        raise ArgumentError(
            f"{option} is not a list of numbers",
            expected="one number, or one for each channel with commas between them",
            found=repr(text),
            hint=f"for example {option} 0.5, or {option} 0.485,0.456,0.406",
        ) from error


def parse_size(text: str | None) -> tuple[int, ...] | tuple[tuple[int, ...], ...] | None:
    """Parse ``--input-size``.

    ``224`` is square, ``240x320`` is HxW, ``1x28x28`` is CxHxW, ``3x16x112x112`` is CxDxHxW. For
    a network on feature vectors, one number is their length. A network with several inputs takes
    several sizes separated by commas, each with its channels.

    Raises:
        ArgumentError: It is none of these.
    """
    if text is None:
        return None
    sizes = tuple(_parse_one_size(part) for part in text.lower().split(","))
    return sizes if len(sizes) > 1 else sizes[0]


def _parse_one_size(text: str) -> tuple[int, ...]:
    parts = text.split("x")
    if not 1 <= len(parts) <= 4 or not all(map(_is_size, parts)):
        raise ArgumentError(
            "--input-size is not a size",
            expected="224, 240x320 (HxW), 1x28x28 (CxHxW), 3x16x112x112 (CxDxHxW), or 64 (C) for a "
            "network on feature vectors",
            found=repr(text),
            hint="use positive whole numbers with x between them, and commas between inputs",
        )
    return tuple(int(part) for part in parts)


def _is_size(part: str) -> bool:
    return part.isascii() and part.isdecimal() and int(part) > 0
