"""Networks that are run in every runtime, and the same ones with BatchNorm in every layer.

Affine parameters and running statistics are random (see ``networks.prepare``), all sizes differ,
and inputs have a mean that differs from channel to channel.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from networks import prepare
from torch import Tensor, nn

from ssn_prune.architectures.registry import find_architecture
from ssn_prune.checkpoint.loading import LoadedCheckpoint, Source
from ssn_prune.nn.ssn import SSN, SSN1d, SSN2d, SSN3d
from ssn_prune.normalizer import ALL_PAIRS, Normalizer, NormalizerPair

BATCH_NORM = NormalizerPair(Normalizer.BN, Normalizer.BN)


class Residual(nn.Module):
    """Blocks ``relu(norm(conv(x)) + x)`` between two convolutions, or linear layers.

    Nine have biased variances, nine corrected ones. Each block adds to the output, so a wrong layer
    shows there, whatever follows it.

    Args:
        conv: Class of the convolutions, or ``nn.Linear``.
        norm: Class of the layers.
        channels: Of the input, the blocks and the output.
    """

    def __init__(
        self, conv: type[nn.Module], norm: type[SSN], channels: tuple[int, int, int] = (3, 12, 5)
    ) -> None:
        super().__init__()
        first, inner, last = channels
        kernel = () if conv is nn.Linear else (3, 1, 1)
        corrections = [correction for correction in (0, 1) for _ in ALL_PAIRS]
        self.stem = conv(first, inner, *kernel)
        self.convs = nn.ModuleList(conv(inner, inner, *kernel) for _ in corrections)
        self.norms = nn.ModuleList(norm(inner, correction=value) for value in corrections)
        self.head = conv(inner, last, *kernel)

    def forward(self, x: Tensor) -> Tensor:
        """(N, C, ...) to (N, C', ...)."""
        x = torch.relu(self.stem(x))
        for conv, norm in zip(self.convs, self.norms, strict=True):
            x = torch.relu(norm(conv(x)) + x)
        return self.head(x)


@dataclass(frozen=True)
class Network:
    """A network to run.

    Attributes:
        build: Makes it, untrained.
        size: Of one input.
    """

    build: Callable[[], nn.Module]
    size: tuple[int, ...]


def _registered(name: str) -> Callable[[], nn.Module]:
    return lambda: find_architecture(name, trusted=True).build()


SMALL: dict[str, Network] = {
    "vectors": Network(lambda: Residual(nn.Linear, SSN1d, (7, 12, 5)), (7,)),
    "1-d": Network(lambda: Residual(nn.Conv1d, SSN1d), (3, 31)),
    "2-d": Network(lambda: Residual(nn.Conv2d, SSN2d), (3, 9, 14)),
    "3-d": Network(lambda: Residual(nn.Conv3d, SSN3d), (3, 4, 6, 9)),
}

REFERENCE = "ResNet-18"

LARGE: dict[str, Network] = {
    REFERENCE: Network(_registered("resnetv1ssn18"), (3, 160, 192)),
    "ResNet-50": Network(_registered("torchvision:resnet50"), (3, 160, 192)),
    "MobileNetV2": Network(_registered("torchvision:mobilenet_v2"), (3, 160, 192)),
    "DeepLabV3": Network(
        _registered("torchvision:deeplabv3_mobilenet_v3_large"), (3, 160, 192)
    ),
    "r3d_18": Network(_registered("torchvision:r3d_18"), (3, 8, 80, 96)),
    "1-d, wide": Network(lambda: Residual(nn.Conv1d, SSN1d, (6, 96, 11)), (6, 1203)),
}  # fmt: skip


def samples_of(size: Sequence[int], count: int) -> Tensor:
    """Inputs whose channels have means of their own, the same at every call."""
    generator = torch.Generator().manual_seed(1)
    means = torch.linspace(-1.0, 2.0, size[0]).reshape(-1, *[1] * (len(size) - 1))
    return torch.randn(count, *size, generator=generator) + means


def network_of(name: str, pairs: Sequence[NormalizerPair] = ALL_PAIRS) -> LoadedCheckpoint:
    """The network of this name, as if trained: each layer selects one of the pairs."""
    network = (SMALL | LARGE)[name]
    torch.manual_seed(0)
    model = network.build().eval()
    x = samples_of(network.size, 4)
    prepare(model, x, seed=0, avoid_undefined=len(network.size) > 1, pairs=pairs)
    for layer in (module for module in model.modules() if isinstance(module, SSN)):
        # A mean so far from the channel's values does not fold: the layer subtracts it.
        layer.running_mean[0] += 6 * layer.running_var[0].sqrt()
    source = Source(name, "0" * 64, "zip", None, (), "", 0, name, {}, {})
    return LoadedCheckpoint(model.eval(), network.size, source)
