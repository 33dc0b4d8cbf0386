"""Small networks whose layers have surroundings of every kind."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from ssn_prune.nn.ssn import SSN1d, SSN2d


class Residual(nn.Module):
    """(N, 3, 16, 16) through a stem with max pooling, a block with a shortcut, and lone layers.

    Layers: ``stem`` (conv, norm, ReLU, max pool), ``inner`` (conv, norm, ReLU), ``outer`` (conv,
    norm, add, ReLU), ``alone`` (after a sum), called twice: ``twice``.
    """

    input_size = (3, 16, 16)

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.conv = nn.Conv2d(3, 8, 3, padding=1, bias=False)
        self.stem = SSN2d(8)
        self.conv1 = nn.Conv2d(8, 8, 3, padding=1, bias=False)
        self.inner = SSN2d(8, normalizers=("LN", "BN"))
        self.conv2 = nn.Conv2d(8, 8, 3, padding=1, bias=False)
        self.outer = SSN2d(8, normalizers=("IN", "BN"))
        self.alone = SSN2d(8, normalizers=("IN", "BN"))
        self.twice = SSN2d(8, correction=1, shared_gate=True)
        self.last = nn.Conv2d(8, 8, 1)

    def forward(self, x: Tensor) -> Tensor:
        x = torch.max_pool2d(torch.relu(self.stem(self.conv(x))), 2)
        y = torch.relu(self.inner(self.conv1(x)))
        x = torch.relu(self.outer(self.conv2(y)) + x)
        x = torch.relu(self.alone(x))
        x = self.twice(torch.tanh(x))
        return self.last(torch.tanh(self.twice(torch.max_pool2d(x, 2))))


class Small(nn.Module):
    """Two layers at three places, four pairs each; (N, 3, 6, 6)."""

    input_size = (3, 6, 6)

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.conv = nn.Conv2d(3, 8, 1)
        self.once = SSN2d(8, normalizers=("IN", "BN"))
        self.twice = SSN2d(8, normalizers=("IN", "BN"))

    def forward(self, x: Tensor) -> Tensor:
        x = self.twice(torch.sin(self.once(self.conv(x))))
        return self.twice(torch.max_pool2d(torch.sin(x), 2))


class Uncapturable(nn.Module):
    """Its control flow depends on the data; only ``inner`` can be captured, ``outer`` cannot."""

    input_size = (3, 12)

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.inner = nn.Sequential(nn.Conv1d(3, 8, 3), SSN1d(8), nn.ReLU())
        self.outer = SSN1d(8)

    def forward(self, x: Tensor) -> Tensor:
        x = self.inner(x)
        if float(x.sum()) > -1e9:
            x = self.outer(x)
        return x
