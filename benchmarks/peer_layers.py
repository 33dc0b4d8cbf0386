"""The layers that others would export: the formula as it is, and layers written by hand."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from ssn_prune.nn.switchable import SwitchableNorm
from ssn_prune.normalizer import Normalizer, NormalizerPair
from ssn_prune.surgery.copying import copy_model, replace_modules

IN, LN, BN = Normalizer.IN, Normalizer.LN, Normalizer.BN


class FormulaNorm(nn.Module):
    """The formula of a switchable layer at inference: all statistics, weighted by gates."""

    def __init__(self, layer: SwitchableNorm) -> None:
        super().__init__()
        shape = (1, -1, *[1] * (max(layer.dims) - 2))
        for name in ("weight", "bias"):
            value = getattr(layer, name).detach().view(shape)
            self.register_parameter(name, nn.Parameter(value))
        self.register_buffer("running_mean", layer.running_mean.view(shape))
        self.register_buffer("running_var", layer.running_var.view(shape))
        mean, var = layer.gates()
        self.register_buffer("mean_gate", mean.detach().clone())
        self.register_buffer("var_gate", var.detach().clone())
        self.eps, self.correction = layer.eps, layer.correction

    def forward(self, x: Tensor) -> Tensor:
        """Normalize (N, C, *)."""
        axes = list(range(2, x.dim()))
        mean_in = x.mean(axes, keepdim=True)
        var_in = x.var(axes, correction=self.correction, keepdim=True)
        temp = var_in + mean_in**2
        mean_ln = mean_in.mean(1, keepdim=True)
        var_ln = temp.mean(1, keepdim=True) - mean_ln**2
        p, q = self.mean_gate, self.var_gate
        mean = p[0] * mean_in + p[1] * mean_ln + p[2] * self.running_mean
        var = q[0] * var_in + q[1] * var_ln + q[2] * self.running_var
        return (x - mean) / (var + self.eps).sqrt() * self.weight + self.bias


class HandMadeNorm(FormulaNorm):
    """A layer that computes only the selected statistics."""

    def __init__(self, layer: SwitchableNorm, pair: NormalizerPair) -> None:
        super().__init__(layer)
        self.pair = pair
        del self.mean_gate, self.var_gate

    def forward(self, x: Tensor) -> Tensor:
        """Normalize (N, C, *)."""
        axes, mean, var = list(range(2, x.dim())), self.running_mean, self.running_var
        if self.pair.mean is IN:
            mean = x.mean(axes, keepdim=True)
        elif self.pair.mean is LN:
            mean = x.mean([1, *axes], keepdim=True)
        if self.pair.var is IN:
            var = x.var(axes, correction=self.correction, keepdim=True)
        elif self.pair.var is LN and not self.correction:
            var = x.var([1, *axes], correction=0, keepdim=True)
        elif self.pair.var is LN:
            mean_in = x.mean(axes, keepdim=True)
            temp = x.var(axes, correction=1, keepdim=True) + mean_in**2
            var = temp.mean(1, keepdim=True) - mean_in.mean(1, keepdim=True) ** 2
        return (x - mean) / (var + self.eps).sqrt() * self.weight + self.bias


def by_formula(model: nn.Module) -> nn.Module:
    """A copy with every layer replaced by its formula."""
    return _replaced(model, FormulaNorm)


def by_hand(model: nn.Module) -> nn.Module:
    """A copy with torch's own layers where they are exact, else with the selected statistics."""

    def make(layer: SwitchableNorm) -> nn.Module:
        mean, var = (Normalizer(int(gate.argmax())) for gate in layer.gates())
        pair, dims = NormalizerPair(mean, var), max(layer.dims) - 2
        batch_norms = (nn.BatchNorm1d, nn.BatchNorm2d, nn.BatchNorm3d)
        instance_norms = (nn.InstanceNorm1d, nn.InstanceNorm2d, nn.InstanceNorm3d)
        count, eps = layer.num_features, layer.eps
        if pair == NormalizerPair(BN, BN):
            target = batch_norms[dims - 1](count, eps)
            target.running_mean.copy_(layer.running_mean)
            target.running_var.copy_(layer.running_var)
        elif pair == NormalizerPair(IN, IN) and not layer.correction:
            target = instance_norms[dims - 1](count, eps, affine=True)
        elif pair == NormalizerPair(LN, LN) and not layer.correction:
            target = nn.GroupNorm(1, count, eps)
        else:
            return HandMadeNorm(layer, pair)
        target.weight.copy_(layer.weight)
        target.bias.copy_(layer.bias)
        return target

    return _replaced(model, make)


def _replaced(model: nn.Module, make) -> nn.Module:
    result = copy_model(model)
    with torch.no_grad():
        layers = [m for m in result.modules() if isinstance(m, SwitchableNorm)]
        pairs = [(layer, make(layer).eval()) for layer in layers]
    return replace_modules(result, pairs).eval()
