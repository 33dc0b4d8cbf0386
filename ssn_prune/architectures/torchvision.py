"""How torchvision's models are called: what they take, and at which size they were trained."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from torch import nn

from ssn_prune.architectures.usual_preprocessing import UsualPreprocessing

_FRAMES = 16
_PHOTO = (3, 480, 640)  # detection models resize what they get


@dataclass(frozen=True)
class Usage:
    """What one call of a model takes.

    Attributes:
        input_size: (C, H, W), or (C, D, H, W) of a video; None if nothing is known.
        inputs: Number of inputs.
        preprocessing: How images are prepared; None for other inputs, or if it is not known.
    """

    input_size: tuple[int, ...] | None
    inputs: int = 1
    preprocessing: UsualPreprocessing | None = None


def torchvision_usage(name: str) -> Usage:
    """Look up the usage of a model in its own transforms.

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
    transforms = _transforms(models.get_model_weights(name))
    crop = _first(getattr(transforms, "crop_size", None))
    resize = _first(getattr(transforms, "resize_size", None))
    side = crop or resize or 224
    if kind == "video":
        return Usage((3, _FRAMES, side, side))
    return Usage((3, side, side), preprocessing=_preprocessing(transforms, crop, resize))


def is_detection_model(model: nn.Module) -> bool:
    """Whether a network is one of torchvision's detection models, whatever backbone it has.

    They take a list of single images, (C, H, W) each, instead of batches.
    """
    return type(model).__module__.startswith("torchvision.models.detection.")


_FIXED = ("300", "320")


def _transforms(weights: Any) -> Any:
    """The transforms of the best weights, which are not downloaded; None if there are none."""
    default = getattr(weights, "DEFAULT", None) or next(iter(weights), None)
    make = getattr(default, "transforms", None)
    return None if make is None else make()


def _preprocessing(
    transforms: Any, crop: int | None, resize: int | None
) -> UsualPreprocessing | None:
    mean, std = (getattr(transforms, name, None) for name in ("mean", "std"))
    if mean is None or std is None:
        return None
    bicubic = transforms.interpolation.value == "bicubic"
    return UsualPreprocessing(
        tuple(mean),
        tuple(std),
        crop / resize if crop and resize else None,
        "bicubic" if bicubic else "bilinear",
    )


def _first(size: Any) -> int | None:
    if isinstance(size, list | tuple):
        return int(size[0])
    return int(size) if size else None
