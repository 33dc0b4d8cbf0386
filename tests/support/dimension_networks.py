"""Layers of every dimension and option, with values as after training, and networks of them."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from ssn_prune.nn.ssn import SSN1d, SSN2d, SSN3d
from ssn_prune.nn.switchable import SwitchableNorm
from ssn_prune.normalizer import ALL_PAIRS, NormalizerPair

# Kind of input: layer class, its producer (3 to 6 channels), shape of one sample.
KINDS: dict[str, tuple[type[SwitchableNorm], Any, tuple[int, ...]]] = {
    "vectors": (SSN1d, nn.Linear, (3,)),
    "1d": (SSN1d, nn.Conv1d, (3, 9)),
    "2d": (SSN2d, nn.Conv2d, (3, 5, 4)),
    "3d": (SSN3d, nn.Conv3d, (3, 4, 5, 3)),
}
CHANNELS = 6


def sample(kind: str, batch: int = 3, seed: int = 0, dtype: torch.dtype = torch.float64) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(batch, *KINDS[kind][2], generator=generator).to(dtype)


def randomize_layer(layer: SwitchableNorm, seed: int = 0) -> SwitchableNorm:
    """Set random affine parameters of either sign and running statistics, in place."""
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        if layer.affine:
            layer.weight.normal_(1.0, 0.7, generator=generator)
            layer.bias.normal_(generator=generator)
        if layer.running_mean is not None:
            layer.running_mean.normal_(generator=generator)
            layer.running_var.uniform_(0.2, 3.0, generator=generator)
    return layer


def one_hot_layer(kind: str, pair: NormalizerPair, seed: int = 0, **options: Any) -> SwitchableNorm:
    """An SSN layer that selected ``pair``."""
    layer = randomize_layer(KINDS[kind][0](CHANNELS, **options), seed)
    layer.fix(pair.mean, pair.var)
    return layer


def producer(kind: str, bias: bool = True) -> nn.Module:
    make = KINDS[kind][1]
    return make(3, CHANNELS, bias=bias) if kind == "vectors" else make(3, CHANNELS, 3, bias=bias)


class Branches(nn.Module):
    """One branch per layer, each with its own convolution or linear layer as producer.

    Args:
        kind: Kind of the inputs.
        layers: One per branch.
        adjacent: Whether the layer follows its producer directly, without an activation between.
        bias: Whether the producer has a bias.
    """

    def __init__(
        self, kind: str, layers: list[SwitchableNorm], adjacent: bool, bias: bool = True
    ) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.adjacent = adjacent
        self.producers = nn.ModuleList(producer(kind, bias) for _ in layers)
        self.layers = nn.ModuleList(layers)

    def forward(self, x: Tensor) -> list[Tensor]:
        fed = [conv(x) for conv in self.producers]
        fed = fed if self.adjacent else [torch.tanh(y) for y in fed]
        return [layer(y) for layer, y in zip(self.layers, fed, strict=True)]


class Parallel(nn.Module):
    """The layers alone, all on the same input."""

    def __init__(self, layers: list[SwitchableNorm]) -> None:
        super().__init__()
        self.layers = nn.ModuleList(layers)

    def forward(self, x: Tensor) -> list[Tensor]:
        return [layer(x) for layer in self.layers]


def all_pairs(kind: str, correction: int) -> list[NormalizerPair]:
    """The pairs that are defined; the corrected variance of a single position is 0/0."""
    bn_only = kind == "vectors" and correction
    return [pair for pair in ALL_PAIRS if not bn_only or pair.var.name == "BN"]


def formula(x: Tensor, layer: SwitchableNorm, pair: NormalizerPair) -> Tensor:
    """A layer with one-hot gates at inference, by the paper's formula, independent of the package.

    LN's variance is taken over all entries of a sample in one go where that is the definition; a
    corrected one is built from corrected instance variances, as in the reference implementation.
    """
    flat = x.reshape(*x.shape[:2], -1)
    n = flat.shape[2]
    mean_in = flat.sum(2, keepdim=True) / n
    var_in = ((flat - mean_in) ** 2).sum(2, keepdim=True) / max(n - layer.correction, 1)
    mean_ln = flat.mean((1, 2), keepdim=True)
    if layer.correction:
        var_ln = (var_in + mean_in**2).mean(1, keepdim=True) - mean_ln**2
    else:
        var_ln = ((flat - mean_ln) ** 2).mean((1, 2), keepdim=True)
    means, variances = {"IN": mean_in, "LN": mean_ln}, {"IN": var_in, "LN": var_ln}
    if layer.running_mean is not None:
        means["BN"] = layer.running_mean.view(1, -1, 1)
        variances["BN"] = layer.running_var.view(1, -1, 1)
    y = (flat - means[pair.mean.name]) / torch.sqrt(variances[pair.var.name] + layer.eps)
    if layer.weight is not None:
        y = y * layer.weight.view(1, -1, 1) + layer.bias.view(1, -1, 1)
    return y.reshape(x.shape)


class TinyVideoNetwork(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv3d(2, 4, 3, bias=False)
        self.norm = SSN3d(4)
        self.head = nn.Linear(4, 3)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(torch.relu(self.norm(self.conv(x))).mean((2, 3, 4)))
