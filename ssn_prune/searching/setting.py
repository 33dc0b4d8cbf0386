"""What measured harms depend on: a journal is resumed only if all of it is the same."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

import torch
from torch import nn

from ssn_prune._version import __version__
from ssn_prune.images.image_set import ImageSet
from ssn_prune.searching.batches import Batches
from ssn_prune.searching.divergence import floating_outputs
from ssn_prune.searching.parts import Parts
from ssn_prune.searching.reading import as_bytes
from ssn_prune.searching.selections import switchable_layers


def setting_of(
    model: nn.Module,
    running: nn.Module,
    images: ImageSet,
    parts: Parts,
    contents: Sequence[str],
    calibration: Batches,
) -> dict[str, Any]:
    """What the measured harms of a network depend on.

    Args:
        model: The original.
        running: A copy of it on the device of the batches, to run.
        images: The images of the search.
        parts: The purpose of each.
        contents: Hashes of those that the harms are measured on.
        calibration: The images of the calibration.
    """
    state = hashlib.sha256()
    for name, tensor in model.state_dict().items():
        state.update(name.encode())
        state.update(as_bytes(tensor))
    layers = {name: repr(layer) for name, layer in switchable_layers(model).items()}
    return {
        "version": __version__,
        "method": "moved statistics, fitted weight and bias, images moved alike, all outputs",
        "weights": state.hexdigest(),
        "layers": hashlib.sha256(repr(layers).encode()).hexdigest(),
        "outputs": _outputs_of(running, calibration),
        "images": hashlib.sha256("\n".join([*images.names, *contents]).encode()).hexdigest(),
        "preprocessing": None if images.preprocessing is None else asdict(images.preprocessing),
        "calibration": list(parts.calibration),
        "search": list(parts.search),
        "images_a_batch": len(calibration.indices[0]),
    }


def _outputs_of(model: nn.Module, calibration: Batches) -> list[str]:
    """Digits of the outputs for two images, few enough that rounding errors do not show.

    They stand for the network's code, which the weights say nothing about.
    """
    inputs = tuple(tensor[:2] for tensor in calibration.inputs(0))
    generator = torch.Generator().manual_seed(0)
    found = []
    with torch.no_grad():
        outputs = floating_outputs(model(*inputs))
    for output in outputs:
        values = output.detach().cpu().double().flatten()
        values = values.where(values.isfinite(), torch.zeros_like(values))
        size = float(values.square().mean().sqrt()) if len(values) else 0.0
        direction = torch.randn(len(values), generator=generator, dtype=torch.float64)
        along = float(values @ direction) / (size * len(values) ** 0.5) if size else 0.0
        found.append(f"{tuple(output.shape[1:])} {size:.2e} {along + 0.0:.1f}")
    return found
