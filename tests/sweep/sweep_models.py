"""From a name to a network without weights, and to inputs that are small but large enough."""

from __future__ import annotations

import inspect
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from ssn_prune.errors import first_line

BATCH_SIZES = (1, 3)
"""Of the calls that verify: at least 4 samples in all."""

SIDES = (64, 96, 128, 160, 192, 224, 256, 288, 299, 331, 384)
FRAMES = (8, 16)
GROWTH = 1.7


@dataclass(frozen=True)
class Inputs:
    """What one call of a network takes.

    Attributes:
        kind: ``images``, ``clips`` (N, 3, T, H, W), ``pairs`` of images, or ``detection``: a list
            of images of no common size, so without a batch axis.
        channels: Of an image.
        size: The axes after the channels.
    """

    kind: str
    channels: int
    size: tuple[int, ...]

    def make(self, batch: int, seed: int) -> tuple[Any, ...]:
        """Inputs of one call, the same for the same seed."""
        generator = torch.Generator().manual_seed(seed)

        def draw(*shape: int) -> Tensor:
            return torch.randn(*shape, self.channels, *self.size, generator=generator)

        if self.kind == "detection":
            return ([draw().sigmoid()],)
        return (draw(batch), draw(batch)) if self.kind == "pairs" else (draw(batch),)

    def settling(self) -> tuple[Any, ...]:
        """Inputs of the call that gives the statistics."""
        return self.make(4 if self.kind == "images" else 2, 0)

    def verification(self, fixed_batch: bool) -> list[tuple[Any, ...]]:
        """Inputs of several calls, at least 4 samples in all."""
        sizes = (1,) * 4 if self.kind == "detection" else (2, 2) if fixed_batch else BATCH_SIZES
        return [self.make(batch, seed) for seed, batch in enumerate(sizes, start=1)]

    def source(self, batch: int = 2) -> str:
        """The inputs as code."""
        shape = ", ".join(map(str, (self.channels, *self.size)))
        if self.kind == "detection":
            return f"([torch.rand({shape})],)"
        one = f"torch.randn({batch}, {shape})"
        return f"({one}, {one})" if self.kind == "pairs" else f"({one},)"

    def __str__(self) -> str:
        return "x".join(map(str, (self.channels, *self.size)))


def build(name: str) -> nn.Module:
    """Build a network with random weights, in evaluation mode."""
    library, _, rest = name.partition(":")
    if library == "timm":
        import timm

        network: nn.Module = timm.create_model(rest, pretrained=False)
    else:
        from torchvision import models

        network = models.get_model(rest, **torchvision_arguments(rest))
    network.eval()
    return network


def torchvision_arguments(name: str) -> dict[str, Any]:
    """No weights, and for detection small images and few but certain detections."""
    from torchvision import models

    builder = models.get_model_builder(name)
    accepted = inspect.signature(builder).parameters
    arguments: dict[str, Any] = {"weights": None}
    if "weights_backbone" in accepted:
        arguments["weights_backbone"] = None
    if "quantize" in accepted:
        arguments["quantize"] = False
    if name.removeprefix("quantized_") in ("googlenet", "inception_v3"):
        arguments["init_weights"] = False
    if _family(name) == "detection":
        arguments |= _detection_arguments(name)
    return arguments


def _detection_arguments(name: str) -> dict[str, Any]:
    """Without these the random scores of an untrained network give no detection to compare."""
    if "rcnn" in name:
        few = {"rpn_pre_nms_top_n_test": 50, "rpn_post_nms_top_n_test": 20}
        return {"min_size": 128, "max_size": 160, "box_score_thresh": 0.0} | few
    few = {"score_thresh": 0.0, "topk_candidates": 50, "detections_per_img": 10}
    return few if "ssd" in name else {"min_size": 128, "max_size": 160} | few


def _family(name: str) -> str:
    from torchvision import models

    return models.get_model_builder(name).__module__.split(".")[2]


def accepted_inputs(name: str, network: nn.Module) -> Iterator[Inputs]:
    """Inputs that a network accepts, the smallest first, and each much larger than the last.

    Raises:
        RuntimeError: It accepts none.
    """
    refusal, last = "", 0
    for inputs in _possible_inputs(name):
        if inputs.size[-1] < GROWTH * last:
            continue
        try:
            with torch.no_grad():
                network(*inputs.make(2, 0))
        # Networks refuse inputs that are too small with whatever comes up in them.
        except Exception as error:  # noqa: BLE001
            refusal = f"{inputs}: {type(error).__name__}: {first_line(error)}"
        else:
            last = inputs.size[-1]
            yield inputs
    if not last:
        raise RuntimeError(f"no input size is accepted; {refusal}")


def _possible_inputs(name: str) -> list[Inputs]:
    library, _, rest = name.partition(":")
    if library == "timm":
        return _timm_inputs(rest)
    family = _family(rest)
    if family == "detection":
        side = 320 if "ssdlite" in rest else 300 if "ssd" in rest else 128
        return [Inputs("detection", 3, (side, side))]
    if family == "optical_flow":
        return [Inputs("pairs", 3, (side, side)) for side in (128, 160, 224)]
    if family == "video":
        return [Inputs("clips", 3, (t, side, side)) for side in (64, 112, 224) for t in FRAMES]
    return [Inputs("images", 3, (side, side)) for side in SIDES]


def _timm_inputs(name: str) -> list[Inputs]:
    import timm

    configuration: Any = timm.models.get_pretrained_cfg(name)
    channels, *native = getattr(configuration, "input_size", None) or (3, 224, 224)
    fixed = getattr(configuration, "fixed_input_size", False)
    smaller = [] if fixed else [side for side in SIDES if side < min(native)]
    return [
        Inputs("images", channels, size) for size in [*((s, s) for s in smaller), tuple(native)]
    ]
