"""Names that Python blocks use but do not define: ``<!-- given: ... -->``."""

from __future__ import annotations

import torch
from page_network import Network, as_trained
from torch import nn


def my_network() -> nn.Module:
    """A network with BatchNorm over (N, 3, 16, 16)."""
    return nn.Sequential(
        nn.Conv2d(3, 8, 3, padding=1),
        nn.BatchNorm2d(8),
        nn.ReLU(),
        nn.Conv2d(8, 8, 3, padding=1),
        nn.BatchNorm2d(8),
        nn.AdaptiveAvgPool2d(1),
        nn.Flatten(),
        nn.Linear(8, 10),
    )


def digits() -> tuple[torch.Tensor, torch.Tensor]:
    """Images (4, 1, 16, 16) of noise, and labels."""
    return torch.randn(4, 1, 16, 16, generator=torch.Generator().manual_seed(0)), torch.arange(4)


def batches(count: int = 5) -> list[tuple[torch.Tensor, torch.Tensor]]:
    """Images (4, 3, 16, 16) and labels of noise."""
    generator = torch.Generator().manual_seed(0)
    return [(torch.randn(4, 3, 16, 16, generator=generator), torch.arange(4)) for _ in range(count)]


def given() -> dict[str, object]:
    """Every name with a new value."""
    images, labels = digits()
    return {
        "Network": Network,
        "soft_model": Network().eval(),
        "model": as_trained(Network, 0),
        "images": images,
        "labels": labels,
        "my_network": my_network(),
        "batches": batches(),
        "criterion": nn.CrossEntropyLoss(),
        "total_steps": 5,
    }
