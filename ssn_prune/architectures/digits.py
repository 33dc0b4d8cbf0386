"""The network of the demo, small enough to train on a CPU in a minute."""

from __future__ import annotations

from torch import Tensor, nn
from torch.nn import functional as F

from ssn_prune.nn.ssn import SSN2d

INPUT_SIZE = (1, 16, 16)


class _Block(nn.Module):
    """Residual block: conv, SSN, ReLU, conv, SSN, and a projected shortcut."""

    def __init__(self, inputs: int, outputs: int, stride: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(inputs, outputs, 3, stride=stride, padding=1, bias=False)
        self.norm1 = SSN2d(outputs)
        self.conv2 = nn.Conv2d(outputs, outputs, 3, padding=1, bias=False)
        self.norm2 = SSN2d(outputs)
        self.project = nn.Conv2d(inputs, outputs, 1, stride=stride, bias=False)
        self.norm3 = SSN2d(outputs)

    def forward(self, x: Tensor) -> Tensor:
        """(N, inputs, H, W) to (N, outputs, H / stride, W / stride)."""
        y = self.norm2(self.conv2(F.relu(self.norm1(self.conv1(x)))))
        return F.relu(y + self.norm3(self.project(x)))


class DigitsNet(nn.Module):
    """A residual network with 10 SSN layers over (N, 1, 16, 16).

    Args:
        num_classes: Outputs of the classifier.
    """

    input_size = INPUT_SIZE

    def __init__(self, num_classes: int = 10) -> None:
        super().__init__()
        self.conv = nn.Conv2d(1, 16, 3, padding=1, bias=False)
        self.norm = SSN2d(16)
        self.blocks = nn.Sequential(_Block(16, 16, 1), _Block(16, 32, 2), _Block(32, 64, 2))
        self.classifier = nn.Linear(64, num_classes)

    def forward(self, x: Tensor) -> Tensor:
        """(N, 1, 16, 16) to logits (N, num_classes)."""
        x = self.blocks(F.relu(self.norm(self.conv(x))))
        logits: Tensor = self.classifier(x.mean((2, 3)))
        return logits
