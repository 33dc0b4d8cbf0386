"""An SSN layer of another implementation whose gates are not frozen, and a network with two.

It measures the radius from the centre of the face that sparsemax has reached, like the reference
code, and was written independently of the package. Tests copy this file next to a checkpoint.
"""

import torch
from foreign_layers import ForeignSparseSwitch
from torch import nn


def projected(z):
    """The projection on the simplex."""
    ordered = z.sort(descending=True).values
    below = ordered.cumsum(0) - 1
    sizes = torch.arange(1, len(z) + 1, dtype=z.dtype)
    size = int((ordered * sizes > below).sum())
    return (z - below[size - 1] / size).clamp(min=0)


def face_gate(z, radius):
    centre = None
    for _ in range(8):
        point = projected(z)
        if point.max() - point.min() == 1:
            return point
        inside = (point > 0).to(z.dtype)
        new = inside / inside.sum()
        if centre is not None:
            radius = float((radius**2 - (new - centre).square().sum()).sqrt())
        away = point - new
        if away.norm() >= radius:
            return point
        z, centre = new + away * radius / away.norm(), new
        if not z.min() < 0:
            break
    return z


class UnfinishedSwitch(ForeignSparseSwitch):
    def ratios(self):
        pairs = ((self.mean_weight, self.mean_fixed), (self.var_weight, self.var_fixed))
        radius = float(self.radius)
        return [gate if bool(done) else face_gate(gate, radius) for gate, done in pairs]


class UnfinishedNetwork(nn.Module):
    def __init__(self):
        super().__init__()
        self.conv1 = nn.Conv2d(1, 6, 3, padding=1, bias=False)
        self.norm1 = UnfinishedSwitch(6)
        self.conv2 = nn.Conv2d(6, 6, 3, padding=1, bias=False)
        self.norm2 = UnfinishedSwitch(6)
        self.fc = nn.Linear(6, 3)

    def forward(self, x):
        x = torch.relu(self.norm1(self.conv1(x)))
        return self.fc(torch.relu(self.norm2(self.conv2(x))).mean((2, 3)))
