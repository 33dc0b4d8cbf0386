"""Centring: the best constant to subtract from each channel before a norm.

An IN mean cancels any constant in its input, so the bias of a preceding convolution can be chosen
freely: so that the runtime's sums are most accurate, which they are where it removes the channel's
mean. That matters where a channel is nearly constant (saturated, or dead but for the border),
because the rounding errors of a long sum of equal numbers all have the same sign: over 112x112
equal numbers ONNX Runtime's mean is off by 2e-5. After a convolution the constant goes into its
bias. Elsewhere the layer subtracts it if a channel needs it.

Two means are known: that of the training data, in the running statistics, and that measured on the
example inputs (``channel_statistics.py``). The measured one is taken unless the deviation of the
training data is less than half as large: then accuracy matters most on the training data. The
measured one is also taken where the running mean is many deviations away from it, since subtracting
a constant that large would itself cost accuracy. For a layer that is called on quite different
values, the mean over the calls is taken if the worst call fares no worse with it than without.

A BN mean with an IN or LN variance has to be subtracted anyway, so the running mean is taken. Only
a channel too far from it gets another constant, since its variance, which the original computes
before the subtraction, would lose accuracy.

With an LN or BN mean, an IN variance needs a constant only where a plane is nearly constant: where
the squared rounding error of its mean is not small compared with its variance and eps.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor, nn

from ssn_prune.nn.switchable import SwitchableNorm
from ssn_prune.normalizer import Normalizer, NormalizerPair
from ssn_prune.pruning.channel_statistics import ChannelStatistics, LayerStatistics
from ssn_prune.pruning.plan import LayerPlan, Plan
from ssn_prune.pruning.static_norm import running_statistics

CONSTANT_RATIO = 2.0
# A mean that is this many deviations away from zero loses noticeable accuracy in a runtime's sums.
NEARLY_CONSTANT = 4.0
UNIT = 2.0**-24  # the unit roundoff of float32

Calls = Sequence[ChannelStatistics]


@dataclass(frozen=True)
class CentringConstants:
    """Centring constants of one layer.

    Attributes:
        values: Shape (C,), float64.
        needed: Whether the layer should subtract them itself if no convolution does.
    """

    values: Tensor
    needed: bool


def layers_to_centre(plan: Plan) -> dict[str, NormalizerPair]:
    """The layers from whose inputs a constant may be subtracted, with their pairs.

    These are the layers with an IN mean, which cancels it, with a folded running mean, and with an
    IN variance. A corrected IN/LN is left out: centring would exceed its budget of nodes, and its
    scale is that of the whole layer, never that of a constant channel. A single position is its own
    mean, to the last bit, so only a fold has a use for the constant there.
    """
    return {
        layer.name: layer.pair
        for layer in plan.layers
        if layer.pair is not None and _takes_constant(layer, layer.pair)
    }


def _takes_constant(layer: LayerPlan, pair: NormalizerPair) -> bool:
    if layer.fold is not None:
        mean_is_folded = pair.mean is Normalizer.BN and not layer.moved
        return mean_is_folded or pair.mean is Normalizer.IN
    if layer.positions == 1:
        return False
    if pair.mean is Normalizer.IN:
        return not (pair.var is Normalizer.LN and layer.correction)
    return pair.var is Normalizer.IN


def choose_constants(
    model: nn.Module, pairs: Mapping[str, NormalizerPair], measured: LayerStatistics
) -> dict[str, CentringConstants]:
    """Choose the centring constants of layers.

    Args:
        model: The network in evaluation mode; not changed.
        pairs: Layers to centre and what they selected.
        measured: Statistics of their inputs, by name.

    Returns:
        The constants by name, for each layer that ran. A layer that is called several times gets
        the mean over its calls, or zeros for channels where that does not help.
    """
    return {
        name: _constants(model.get_submodule(name), pairs[name], measured[name])
        for name in pairs
        if name in measured
    }


def with_centring(plan: Plan, constants: Mapping[str, CentringConstants]) -> Plan:
    """Add centring constants: always where a convolution subtracts them, else where they matter."""
    layers = []
    for layer in plan.layers:
        found = constants.get(layer.name)
        if found is not None and (layer.fold is not None or found.needed):
            layer = replace(layer, centre=tuple(float(value) for value in found.values))
        layers.append(layer)
    return replace(plan, layers=tuple(layers))


def _constants(layer: nn.Module, pair: NormalizerPair, calls: Calls) -> CentringConstants:
    assert isinstance(layer, SwitchableNorm)  # only such layers are planned
    mean = _mean_over_calls(calls, layer.eps)
    needed = _is_needed(pair, calls, layer.eps)
    statistics = running_statistics(layer)
    if statistics is None:
        return CentringConstants(mean, needed)
    running_mean, running_var = statistics[0].double(), statistics[1].double()
    if pair.mean is Normalizer.BN:
        taken = torch.ones_like(mean, dtype=torch.bool)
        for call in calls:
            in_var = pair.var is Normalizer.IN
            spread = call.plane_deviation if in_var else call.sample_deviation
            taken &= _is_harmless((running_mean - call.mean).abs(), spread, layer.eps)
    else:
        trained = running_var.clamp(min=0).sqrt()
        deviation = torch.stack([call.deviation for call in calls]).mean(0)
        at_stake = deviation > CONSTANT_RATIO * trained
        taken = at_stake & ((running_mean - mean).abs() <= NEARLY_CONSTANT * deviation)
    return CentringConstants(torch.where(taken, running_mean, mean), needed)


def _mean_over_calls(calls: Calls, eps: float) -> Tensor:
    """The mean over the calls, or zero where that suits the worst call better, (C,)."""
    mean = torch.stack([call.mean for call in calls]).mean(0)
    zero = torch.zeros_like(mean)
    mean = torch.where(torch.isfinite(mean), mean, zero)
    if len(calls) == 1:
        return mean
    better = _distance(calls, mean, eps) <= _distance(calls, zero, eps)
    return torch.where(better, mean, zero)


def _distance(calls: Calls, constants: Tensor, eps: float) -> Tensor:
    """The distance of the farthest call's mean from a constant, in deviations, (C,)."""
    distances = [
        (call.mean - constants).abs() / (call.deviation.square() + eps).sqrt() for call in calls
    ]
    return torch.stack(distances).amax(0)


def _is_needed(pair: NormalizerPair, calls: Calls, eps: float) -> bool:
    if pair.mean is Normalizer.IN:
        mean = torch.stack([call.mean for call in calls]).mean(0)
        deviation = torch.stack([call.deviation for call in calls]).mean(0)
        return bool((mean.abs() > NEARLY_CONSTANT * (deviation.square() + eps).sqrt()).any())
    return any(
        bool(
            (
                (2 * UNIT * call.mean).square() > 2 * UNIT * (call.plane_deviation.square() + eps)
            ).any()
        )
        for call in calls
    )


def _is_harmless(distance: Tensor, deviation: Tensor, eps: float) -> Tensor:
    """Whether adding a constant to float32 values keeps deviation^2 + eps accurate, (C,)."""
    rounding = distance * UNIT
    lost = (2 * deviation + rounding) * rounding / (deviation.square() + eps)
    return lost <= 2 * NEARLY_CONSTANT * UNIT
