"""How torchvision's models are called: what they take, and at which size they are trained."""

from __future__ import annotations

import functools
from dataclasses import dataclass
from typing import Any

from torch import nn

_FRAMES = 16
_PHOTO = (3, 480, 640)  # detection models resize what they get


@dataclass(frozen=True)
class Usage:
    """What one call takes.

    Attributes:
        input_size: (C, H, W), or (C, D, H, W) of a video; None if nothing is known.
        inputs: Number of inputs.
    """

    input_size: tuple[int, ...] | None
    inputs: int = 1


def torchvision_usage(name: str) -> Usage:
    """Look it up in the model's own transforms.

    Args:
        name: A name of ``torchvision.models.list_models``.
    """
    from torchvision import models

    kind = models.get_model_builder(name).__module__.split(".")[2]
    if kind == "optical_flow":
        return Usage(None, inputs=2)
    if kind == "detection":
        side = next((int(part[-3:]) for part in name.split("_") if part[-3:] in _FIXED), None)
        return Usage(_PHOTO if side is None else (3, side, side))
    settings = _transform_settings(models.get_model_weights(name))
    side = _first(settings.get("crop_size")) or _first(settings.get("resize_size")) or 224
    return Usage((3, _FRAMES, side, side) if kind == "video" else (3, side, side))


def is_detection_model(model: nn.Module) -> bool:
    """Whether a network is one of torchvision's detection models, whatever is inside.

    They take a list of single images, (C, H, W) each, instead of batches.
    """
    return type(model).__module__.startswith("torchvision.models.detection.")


_FIXED = ("300", "320")


def _transform_settings(weights: Any) -> dict[str, Any]:
    default = getattr(weights, "DEFAULT", None) or next(iter(weights), None)
    transforms = getattr(default, "transforms", None)
    return dict(transforms.keywords) if isinstance(transforms, functools.partial) else {}


def _first(size: Any) -> int | None:
    if isinstance(size, list | tuple):
        return int(size[0])
    return int(size) if size else None
