"""A small ResNet for images of 32x32 pixels: an example of a network of your own to train.

``ssn-prune convert`` builds it by its name, ``--arch cifar_resnet:cifar_resnet``, so this file must
be importable: run the command in this folder, or put the folder on PYTHONPATH. A checkpoint may
name the network, but code that a file asks for is never imported without ``--arch``.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn

from ssn_prune import SSN2d, SwitchNorm2d

NormFactory = Callable[[int], nn.Module]
NORMS: dict[str, NormFactory] = {"ssn": SSN2d, "sn": SwitchNorm2d, "bn": nn.BatchNorm2d}


class Block(nn.Module):
    """Two 3x3 convolutions around a shortcut; the last norm starts with weight 0."""

    def __init__(self, inputs: int, outputs: int, stride: int, norm: NormFactory) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(inputs, outputs, 3, stride, 1, bias=False)
        self.norm1 = norm(outputs)
        self.conv2 = nn.Conv2d(outputs, outputs, 3, 1, 1, bias=False)
        self.norm2 = norm(outputs)
        nn.init.zeros_(self.norm2.get_parameter("weight"))
        self.relu = nn.ReLU()
        self.shortcut = nn.Sequential()
        if stride != 1 or inputs != outputs:
            conv = nn.Conv2d(inputs, outputs, 1, stride, bias=False)
            self.shortcut = nn.Sequential(conv, norm(outputs))

    def forward(self, x: Tensor) -> Tensor:
        """(N, inputs, H, W) to (N, outputs, H / stride, W / stride)."""
        y = self.relu(self.norm1(self.conv1(x)))
        result: Tensor = self.relu(self.norm2(self.conv2(y)) + self.shortcut(x))
        return result


class CifarResNet(nn.Module):
    """Input (N, 3, 32, 32), logits (N, num_classes); stages on 32, 16 and 8 pixels a side."""

    input_size = (3, 32, 32)  # convert takes it from here

    def __init__(self, num_classes: int, norm: NormFactory, width: int, blocks: int) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        inputs = width
        for stage in range(3):
            for block in range(blocks):
                outputs, stride = width * 2**stage, 2 if stage and not block else 1
                layers.append(Block(inputs, outputs, stride, norm))
                inputs = outputs
        self.conv = nn.Conv2d(3, width, 3, 1, 1, bias=False)
        self.norm = norm(width)
        self.relu = nn.ReLU()
        self.stages = nn.Sequential(*layers)
        self.fc = nn.Linear(inputs, num_classes)
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")

    def forward(self, x: Tensor) -> Tensor:
        """Logits of the images."""
        x = self.stages(self.relu(self.norm(self.conv(x))))
        logits: Tensor = self.fc(torch.mean(x, (2, 3)))
        return logits


def cifar_resnet(
    num_classes: int = 10, norm: str = "ssn", width: int = 16, blocks: int = 1
) -> CifarResNet:
    """Build the network.

    Args:
        num_classes: Outputs; ``ssn-prune convert`` takes their number from the checkpoint.
        norm: ``"ssn"``, ``"sn"`` or ``"bn"``.
        width: Channels of the first stage; they double twice.
        blocks: Residual blocks per stage; 3 make the ResNet-20 of He et al. (arXiv 1512.03385).
    """
    return CifarResNet(num_classes, NORMS[norm], width, blocks)
