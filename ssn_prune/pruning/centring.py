"""Centring: the best constant to subtract from each channel in front of a norm.

An IN mean cancels any constant in front of it, so the bias of the convolution there is free to be
whatever makes the runtime's sums most accurate: the channel's mean. That matters where a channel is
nearly constant (saturated, or dead but for the border), because the rounding errors of a long sum
of equal numbers all have the same sign: over 112x112 equal numbers ONNX Runtime's mean is off by
2e-5. Behind a convolution the constant goes into its bias, elsewhere the layer subtracts it if a
channel needs it.

Two means are known: that of the training data, in the running statistics, and that of the example
inputs, measured here. The measured one is taken unless the training data is at least twice as
constant: then accuracy is at stake there. It is also taken where the other is out of reach of the
inputs, many deviations away: that would add to the values what is then subtracted from them. Of a
layer that is called on quite different values, the mean is taken if that suits every call better
than nothing.

A BN mean beside another variance has to be subtracted anyway, so the running mean is taken unless a
channel is so far from it that the variance, which the original computes without it, would lose
accuracy.

With another mean an IN variance needs a constant only where a plane is so nearly constant that the
rounding error of its mean, squared, is not small beside its variance and eps.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from ssn_prune.nn.statistics import pooled_moments
from ssn_prune.nn.switchable import SwitchableNorm
from ssn_prune.normalizer import Normalizer, NormalizerPair
from ssn_prune.surgery._shared_parameters import run_copy
from ssn_prune.surgery.nested import clone_tensors

CONSTANT_RATIO = 2.0
# A mean that is this many deviations away from zero loses noticeable accuracy in a runtime's sums.
NEARLY_CONSTANT = 4.0
UNIT = 2.0**-24  # a float32 number is rounded by up to this share of it


@dataclass(frozen=True)
class Centre:
    """Centring constants of one layer.

    Attributes:
        values: Shape (C,), float64.
        needed: Whether a layer should subtract them itself if nothing in front does.
    """

    values: Tensor
    needed: bool


@dataclass(frozen=True)
class ChannelMoments:
    """Of the inputs of one call of a layer, in float64.

    Attributes:
        mean: Of each channel over all samples, (C,).
        deviation: The same.
        plane: The smallest deviation of a plane of each channel, (C,).
        sample: The smallest deviation of a whole sample, ().
    """

    mean: Tensor
    deviation: Tensor
    plane: Tensor
    sample: Tensor


Moments = Mapping[str, Sequence[ChannelMoments]]
"""By the name of a layer, of each of its calls."""


def record_moments(model: nn.Module, inputs: tuple[Any, ...], names: Iterable[str]) -> Moments:
    """Run a network and look at what its layers are given.

    Args:
        model: The network in evaluation mode; not changed.
        inputs: Inputs of one call.
        names: Layers to look at; those that do not run are not in the result.
    """
    measured: dict[str, list[ChannelMoments]] = {}

    def recorder(name: str) -> Any:
        def hook(_module: nn.Module, arguments: tuple[Tensor, ...], named: dict[str, Any]) -> None:
            x = arguments[0] if arguments else named["input"]
            if x.numel():  # detectors may find nothing on noise
                measured.setdefault(name, []).append(_moments(x))

        return hook

    def run(probe: nn.Module) -> None:
        measured.clear()
        for name in listed:
            layer = probe.get_submodule(name)
            layer.register_forward_pre_hook(recorder(name), with_kwargs=True)
        with torch.no_grad():
            probe(*clone_tensors(inputs))

    listed = list(names)
    run_copy(model, run)
    return measured


def find_centres(
    model: nn.Module, pairs: Mapping[str, NormalizerPair], moments: Moments
) -> dict[str, Centre]:
    """Find the centring constants of layers.

    Args:
        model: The network in evaluation mode; not changed.
        pairs: Layers to centre and what they selected.
        moments: What they were given.

    Returns:
        By name, for each layer that ran; a layer that is called several times gets the mean over
        its calls.
    """
    return {
        name: _centre(model.get_submodule(name), pairs[name], list(moments[name]))
        for name in pairs
        if name in moments
    }


def _moments(x: Tensor) -> ChannelMoments:
    planes = (x.unsqueeze(-1) if x.dim() == 2 else x).double().flatten(2)
    mean = planes.mean(2, keepdim=True)
    # Several times as fast as var_mean, which a run over all layers would feel.
    var = torch.linalg.vector_norm(planes - mean, dim=2, keepdim=True).square() / planes.shape[2]
    deviation = pooled_moments(mean, var, dim=0)[1].sqrt().flatten()
    sample = pooled_moments(mean, var, dim=1)[1].sqrt().min()
    plane = var.amin(0).sqrt().flatten()
    return ChannelMoments(mean.mean(0).flatten(), deviation, plane, sample)


def _centre(layer: nn.Module, pair: NormalizerPair, calls: list[ChannelMoments]) -> Centre:
    assert isinstance(layer, SwitchableNorm)  # only such layers are planned
    mean = torch.stack([call.mean for call in calls]).mean(0)
    mean = torch.where(torch.isfinite(mean), mean, torch.zeros_like(mean))
    if len(calls) > 1:
        nothing = torch.zeros_like(mean)
        better = _distance(calls, mean, layer.eps) <= _distance(calls, nothing, layer.eps)
        mean = torch.where(better, mean, nothing)
    needed = _is_needed(pair, calls, layer.eps)
    if layer.running_mean is None or layer.running_var is None:
        return Centre(mean, needed)
    running_mean = layer.running_mean.double()
    if pair.mean is Normalizer.BN:
        taken = torch.ones_like(mean, dtype=torch.bool)
        for call in calls:
            spread = call.plane if pair.var is Normalizer.IN else call.sample
            taken &= _is_harmless((running_mean - call.mean).abs(), spread, layer.eps)
    else:
        trained = layer.running_var.double().clamp(min=0).sqrt()
        deviation = torch.stack([call.deviation for call in calls]).mean(0)
        at_stake = deviation > CONSTANT_RATIO * trained
        taken = at_stake & ((running_mean - mean).abs() <= NEARLY_CONSTANT * deviation)
    return Centre(torch.where(taken, running_mean, mean), needed)


def _distance(calls: list[ChannelMoments], centre: Tensor, eps: float) -> Tensor:
    """How many deviations the farthest call's mean is from a constant, (C,)."""
    distances = [
        (call.mean - centre).abs() / (call.deviation.square() + eps).sqrt() for call in calls
    ]
    return torch.stack(distances).amax(0)


def _is_needed(pair: NormalizerPair, calls: list[ChannelMoments], eps: float) -> bool:
    if pair.mean is Normalizer.IN:
        mean = torch.stack([call.mean for call in calls]).mean(0)
        deviation = torch.stack([call.deviation for call in calls]).mean(0)
        return bool((mean.abs() > NEARLY_CONSTANT * (deviation.square() + eps).sqrt()).any())
    return any(
        bool(((2 * UNIT * call.mean).square() > 2 * UNIT * (call.plane.square() + eps)).any())
        for call in calls
    )


def _is_harmless(distance: Tensor, deviation: Tensor, eps: float) -> Tensor:
    """Whether adding a constant to float32 values keeps the accuracy of deviation^2 + eps."""
    rounding = distance * UNIT
    lost = (2 * deviation + rounding) * rounding / (deviation.square() + eps)
    return lost <= 2 * NEARLY_CONSTANT * UNIT
