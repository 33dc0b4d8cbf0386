"""The reference ResNet v1 with SSN or SN layers, with the keys of the reference checkpoints.

It differs from torchvision's ResNet. The max pooling of the SSN network's stem has no padding, and
``ceil_mode`` (the SN network pads by 1). A 7x7 average pooling with stride 1 and a flatten fix the
input size to 224. There is dropout before the classifier. As there, convolutions have no bias,
bottlenecks stride in the 3x3 convolution, and the last normalizer of each residual block can start
at zero; here it does by default.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from ssn_prune.nn.ssn import SSN2d
from ssn_prune.nn.switch_norm import SwitchNorm2d
from ssn_prune.nn.switchable import SwitchableNorm

REFERENCE_EPS = 1e-5
_MOMENTUM = {SSN2d: 1 - 0.997, SwitchNorm2d: 1 - 0.9}


@dataclass(frozen=True)
class NormFactory:
    """Builds the normalizers of one network.

    Attributes:
        layer: SSN2d or SwitchNorm2d.
        using_bn: Offer BatchNorm in addition to InstanceNorm and LayerNorm.
        last_gamma: Start the last normalizer of each block at weight 0.
        correction: 1 for the reference implementation's Bessel-corrected variance.
    """

    layer: type[SSN2d] | type[SwitchNorm2d]
    using_bn: bool = True
    last_gamma: bool = True
    correction: int = 1

    def __call__(self, channels: int, *, last: bool = False) -> SwitchableNorm:
        """A layer over ``channels``; ``last`` marks the last one of a block."""
        return self.layer(
            channels,
            eps=REFERENCE_EPS,
            momentum=_MOMENTUM[self.layer],
            normalizers=("IN", "LN", "BN") if self.using_bn else ("IN", "LN"),
            correction=self.correction,
            zero_init=last and self.last_gamma,
        )


def _conv(inputs: int, outputs: int, size: int, stride: int = 1) -> nn.Conv2d:
    return nn.Conv2d(inputs, outputs, size, stride=stride, padding=size // 2, bias=False)


class BasicBlock(nn.Module):
    """Two 3x3 convolutions and a shortcut."""

    expansion = 1

    def __init__(self, inputs: int, planes: int, stride: int, norm: NormFactory) -> None:
        super().__init__()
        self.conv1 = _conv(inputs, planes, 3, stride)
        self.sn1 = norm(planes)
        self.conv2 = _conv(planes, planes, 3)
        self.sn2 = norm(planes, last=True)
        self.relu = nn.ReLU(inplace=True)
        self.downsample = _shortcut(inputs, planes * self.expansion, stride, norm)

    def forward(self, x: Tensor) -> Tensor:
        """(N, inputs, H, W) to (N, planes, H / stride, W / stride)."""
        out = self.relu(self.sn1(self.conv1(x)))
        out = self.sn2(self.conv2(out))
        out += x if self.downsample is None else self.downsample(x)
        result: Tensor = self.relu(out)
        return result


class Bottleneck(nn.Module):
    """A 1x1, a 3x3 (with the stride) and a 1x1 convolution, and a shortcut."""

    expansion = 4

    def __init__(self, inputs: int, planes: int, stride: int, norm: NormFactory) -> None:
        super().__init__()
        self.conv1 = _conv(inputs, planes, 1)
        self.sn1 = norm(planes)
        self.conv2 = _conv(planes, planes, 3, stride)
        self.sn2 = norm(planes)
        self.conv3 = _conv(planes, planes * self.expansion, 1)
        self.sn3 = norm(planes * self.expansion, last=True)
        self.relu = nn.ReLU(inplace=True)
        self.downsample = _shortcut(inputs, planes * self.expansion, stride, norm)

    def forward(self, x: Tensor) -> Tensor:
        """(N, inputs, H, W) to (N, 4 planes, H / stride, W / stride)."""
        out = self.relu(self.sn1(self.conv1(x)))
        out = self.relu(self.sn2(self.conv2(out)))
        out = self.sn3(self.conv3(out))
        out += x if self.downsample is None else self.downsample(x)
        result: Tensor = self.relu(out)
        return result


def _shortcut(inputs: int, outputs: int, stride: int, norm: NormFactory) -> nn.Sequential | None:
    if stride == 1 and inputs == outputs:
        return None
    return nn.Sequential(_conv(inputs, outputs, 1, stride), norm(outputs))


class ResNetV1(nn.Module):
    """ResNet v1 over (N, 3, 224, 224).

    Args:
        block: BasicBlock or Bottleneck.
        depths: Blocks of the four stages.
        norm: Builds the normalizers.
        num_classes: Outputs of the classifier.
    """

    def __init__(
        self,
        block: type[BasicBlock] | type[Bottleneck],
        depths: tuple[int, int, int, int],
        norm: NormFactory,
        num_classes: int = 1000,
    ) -> None:
        super().__init__()
        self.conv1 = _conv(3, 64, 7, stride=2)
        self.sn1 = norm(64)
        self.relu = nn.ReLU(inplace=True)
        if norm.layer is SSN2d:
            self.maxpool = nn.MaxPool2d(3, stride=2, padding=0, ceil_mode=True)
        else:
            self.maxpool = nn.MaxPool2d(3, stride=2, padding=1)
        inputs, stages = 64, []
        for stage, depth in enumerate(depths):
            planes = 64 * 2**stage
            blocks = []
            for index in range(depth):
                stride = 2 if stage > 0 and index == 0 else 1
                blocks.append(block(inputs, planes, stride, norm))
                inputs = planes * block.expansion
            stages.append(nn.Sequential(*blocks))
        self.layer1, self.layer2, self.layer3, self.layer4 = stages
        self.avgpool = nn.AvgPool2d(7, stride=1)
        self.dropout = nn.Dropout(p=0.5)
        self.fc = nn.Linear(inputs, num_classes)
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                fan_out = module.kernel_size[0] * module.kernel_size[1] * module.out_channels
                nn.init.normal_(module.weight, 0.0, math.sqrt(2.0 / fan_out))

    def forward(self, x: Tensor) -> Tensor:
        """(N, 3, 224, 224) to logits (N, num_classes)."""
        x = self.maxpool(self.relu(self.sn1(self.conv1(x))))
        x = self.layer4(self.layer3(self.layer2(self.layer1(x))))
        x = torch.flatten(self.avgpool(x), 1)
        logits: Tensor = self.fc(self.dropout(x))
        return logits


_DEPTHS: dict[int, tuple[type[BasicBlock] | type[Bottleneck], tuple[int, int, int, int]]] = {
    18: (BasicBlock, (2, 2, 2, 2)),
    34: (BasicBlock, (3, 4, 6, 3)),
    50: (Bottleneck, (3, 4, 6, 3)),
    101: (Bottleneck, (3, 4, 23, 3)),
    152: (Bottleneck, (3, 8, 36, 3)),
}
_KINDS: dict[str, type[SSN2d] | type[SwitchNorm2d]] = {"ssn": SSN2d, "sn": SwitchNorm2d}

REFERENCE_NETWORKS = tuple(f"resnetv1{kind}{depth}" for kind in _KINDS for depth in _DEPTHS)


def reference_builder(name: str) -> Callable[..., nn.Module]:
    """Return the builder of one of :data:`REFERENCE_NETWORKS`."""
    kind = "ssn" if name.startswith("resnetv1ssn") else "sn"
    block, depths = _DEPTHS[int(name.removeprefix(f"resnetv1{kind}"))]

    def build(
        num_classes: int = 1000,
        using_moving_average: bool = True,
        using_bn: bool = True,
        last_gamma: bool = True,
        correction: int = 1,
    ) -> nn.Module:
        del using_moving_average  # how BN was trained; the statistics show whether they are sums
        norm = NormFactory(_KINDS[kind], using_bn, last_gamma, correction)
        return ResNetV1(block, depths, norm, num_classes)

    return build
