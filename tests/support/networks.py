"""Networks with every pair, and statistics that keep their activations alive."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from helpers import one_hot_gates
from torch import Tensor, nn

from ssn_prune import SSN2d
from ssn_prune.normalizer import ALL_PAIRS, Normalizer, NormalizerPair

IN, LN, BN = Normalizer.IN, Normalizer.LN, Normalizer.BN


def trained_layer(
    channels: int, pair: NormalizerPair, seed: int = 0, *, zero_gamma: bool = False, **kwargs: Any
) -> SSN2d:
    """A layer as after training: negative weights included, zeros on request."""
    generator = torch.Generator().manual_seed(seed)
    layer = SSN2d(channels, **kwargs)
    with torch.no_grad():
        layer.weight.normal_(generator=generator)
        layer.bias.normal_(generator=generator)
        layer.running_mean.normal_(generator=generator)
        layer.running_var.uniform_(0.2, 3.0, generator=generator)
        if zero_gamma:
            layer.weight[0] = 0
    one_hot_gates(layer, pair.mean, pair.var)
    return layer


class PairNetwork(nn.Module):
    """One branch per pair: conv, layer (or pooling, layer), summed.

    Args:
        correction: The Bessel correction of every layer.
        conv_bias: Whether the convolutions have a bias.
        follows_conv: Put the layers after the convolution, or after a pooling that follows it.
    """

    def __init__(self, correction: int, conv_bias: bool, follows_conv: bool) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.follows_conv = follows_conv
        self.convs = nn.ModuleList(nn.Conv2d(3, 6, 3, bias=conv_bias, padding=1) for _ in ALL_PAIRS)
        self.layers = nn.ModuleList(
            trained_layer(6, pair, seed, correction=correction)
            for seed, pair in enumerate(ALL_PAIRS)
        )

    def forward(self, x: Tensor) -> list[Tensor]:
        outputs = []
        for conv, layer in zip(self.convs, self.layers, strict=True):
            y = conv(x)
            y = y if self.follows_conv else nn.functional.avg_pool2d(y, 2)
            outputs.append(torch.relu(layer(y)))
        return outputs


def settle_statistics(model: nn.Module, x: Tensor, seed: int = 0) -> nn.Module:
    """Set running statistics from one float64 pass, perturbed by 30 %, in place."""
    generator = torch.Generator().manual_seed(seed)

    def hook(layer: nn.Module, arguments: tuple[Tensor, ...]) -> None:
        y = arguments[0]
        for name, value in (("mean", y.mean((0, 2, 3))), ("var", y.var((0, 2, 3), correction=0))):
            factor = 1 + 0.3 * (2 * torch.rand(value.shape, generator=generator).double() - 1)
            getattr(layer, f"running_{name}").copy_(value * factor)

    layers = [module for module in model.modules() if isinstance(module, SSN2d)]
    handles = [layer.register_forward_pre_hook(hook) for layer in layers]
    with torch.no_grad():
        model.double().eval()(x.double())
    for handle in handles:
        handle.remove()
    return model.float()


def random_selection(
    model: nn.Module, pairs: Sequence[NormalizerPair] = ALL_PAIRS, seed: int = 0
) -> nn.Module:
    """Give the layers of ``model`` pairs in turn and random affine parameters, in place."""
    generator = torch.Generator().manual_seed(seed)
    layers = [module for module in model.modules() if isinstance(module, SSN2d)]
    for index, layer in enumerate(layers):
        pair = pairs[index % len(pairs)]
        one_hot_gates(layer, pair.mean, pair.var)
        with torch.no_grad():
            layer.weight.normal_(1.0, 0.5, generator=generator)
            draw = torch.rand(layer.num_features, generator=generator)
            layer.weight[draw < 0.1] *= -1
            layer.weight[draw > 0.97] = 0
            layer.bias.normal_(0.0, 0.3, generator=generator)
    return model


def relative_error(actual: Any, expected: Any) -> float:
    """Largest difference relative to the largest expected value, over nested outputs."""
    pairs = list(zip(_flat(actual), _flat(expected), strict=True))
    assert all(e.detach().abs().max() > 0 for _, e in pairs), "zeros have no relative error"
    return max(float((a - e).detach().abs().max() / e.detach().abs().max()) for a, e in pairs)


def _flat(value: Any) -> list[Tensor]:
    return list(value) if isinstance(value, list | tuple) else [value]


class Lambda(nn.Module):
    """A network whose forward is a function of (self, x)."""

    def __init__(self, function: Callable[[nn.Module, Tensor], Any], **modules: nn.Module) -> None:
        super().__init__()
        self.function = function
        for name, module in modules.items():
            self.add_module(name, module)

    def forward(self, x: Tensor) -> Any:
        return self.function(self, x)
