"""Centring: the best constant to subtract from each channel in front of an IN mean.

An IN mean cancels any constant in front of it, so the bias of the convolution there is free to be
whatever makes the runtime's sums most accurate: the channel's mean. That matters where a channel is
nearly constant (saturated, or dead but for the border), because the rounding errors of a long sum
of equal numbers all have the same sign: over 112x112 equal numbers ONNX Runtime's mean is off by
2e-5. Behind a convolution the constant goes into its bias, elsewhere the layer subtracts it if a
channel needs it.

Two means are known: that of the training data, in the running statistics, and that of the example
inputs, measured here. The measured one is taken unless the training data is at least twice as
constant: then accuracy is at stake there. It is also taken where the other is out of reach of the
inputs, many deviations away: that would add to the values what is then subtracted from them.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from ssn_prune.layers.copying import copy_model
from ssn_prune.layers.switchable import SwitchableNorm
from ssn_prune.math.moments import instance_moments, pooled_moments
from ssn_prune.tensors import clone_tensors

CONSTANT_RATIO = 2.0
# A mean that is this many deviations away from zero loses noticeable accuracy in a runtime's sums.
NEARLY_CONSTANT = 4.0


@dataclass(frozen=True)
class Centre:
    """Centring constants of one layer.

    Attributes:
        values: Shape (C,), float64.
        peak: Largest |mean| / sqrt(variance + eps) of a channel on the example inputs.
    """

    values: Tensor
    peak: float


def measure_centres(
    model: nn.Module, inputs: tuple[Any, ...], names: Iterable[str]
) -> dict[str, Centre]:
    """Find the centring constants of layers.

    Args:
        model: The network in evaluation mode; not changed.
        inputs: Inputs of one call.
        names: Layers to measure.

    Returns:
        By name, for each layer that ran; a layer that is called several times gets the mean over
        its calls.
    """
    measured: dict[str, list[tuple[Tensor, Tensor]]] = {}
    names = list(names)
    if not names:
        return {}

    def recorder(name: str) -> Any:
        def hook(_module: nn.Module, arguments: tuple[Tensor, ...], named: dict[str, Any]) -> None:
            x = arguments[0] if arguments else named["input"]
            x = x.unsqueeze(-1) if x.dim() == 2 else x
            mean, var = instance_moments(x.double())
            deviation = pooled_moments(mean, var, dim=0)[1].sqrt()
            measured.setdefault(name, []).append((mean.mean(0).flatten(), deviation.flatten()))

        return hook

    probe = copy_model(model)  # running it may change buffers
    for name in names:
        layer = probe.get_submodule(name)
        layer.register_forward_pre_hook(recorder(name), with_kwargs=True)
    with torch.no_grad():
        probe(*clone_tensors(inputs))
    return {name: _centre(model.get_submodule(name), calls) for name, calls in measured.items()}


def _centre(layer: nn.Module, calls: list[tuple[Tensor, Tensor]]) -> Centre:
    assert isinstance(layer, SwitchableNorm)  # only such layers are planned
    mean = torch.stack([call[0] for call in calls]).mean(0)
    deviation = torch.stack([call[1] for call in calls]).mean(0)
    peak = float((mean.abs() / (deviation.square() + layer.eps).sqrt()).max())
    if layer.running_mean is not None and layer.running_var is not None:
        trained = layer.running_var.double().clamp(min=0).sqrt()
        running_mean = layer.running_mean.double()
        at_stake = deviation > CONSTANT_RATIO * trained
        in_reach = (running_mean - mean).abs() <= NEARLY_CONSTANT * deviation
        mean = torch.where(at_stake & in_reach, running_mean, mean)
    return Centre(torch.where(torch.isfinite(mean), mean, torch.zeros_like(mean)), peak)
