"""The demonstration: a small SSN network on handwritten digits, trained on the CPU.

The images are 1,797 8x8 digits of the UCI repository; see data/README.md for their origin.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from importlib.resources import files

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ssn_prune.layers.ssn import SSN2d, set_radius
from ssn_prune.math.single_gate import vertex_radius

INPUT_SIZE = (1, 16, 16)
TEST_IMAGES = 360
# All gates are one-hot after this share of the epochs; the rest trains what was selected.
RADIUS_SHARE = 0.8


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


@dataclass(frozen=True)
class Digits:
    """Images (N, 1, 16, 16) in about [-1, 1], and labels (N,), for training and test."""

    train_images: Tensor
    train_labels: Tensor
    test_images: Tensor
    test_labels: Tensor


@dataclass(frozen=True)
class Progress:
    """State after one epoch.

    Attributes:
        epoch: Counted from 1.
        epochs: Number of epochs.
        loss: Mean training loss of the epoch.
        radius: SparsestMax radius at its end.
        one_hot: Gates that are one-hot.
        gates: Number of gates.
    """

    epoch: int
    epochs: int
    loss: float
    radius: float
    one_hot: int
    gates: int


def load_digits() -> Digits:
    """Load the images that come with the package, enlarged to 16x16; the last 360 are the test."""
    with files("ssn_prune").joinpath("data/digits.npz").open("rb") as file:
        content = np.load(file, allow_pickle=False)
        images, labels = content["images"], content["labels"]
    x = torch.from_numpy(images.astype(np.float32)).unsqueeze(1) / 8 - 1
    x = F.interpolate(x, scale_factor=2, mode="bilinear", align_corners=False)
    y = torch.from_numpy(labels.astype(np.int64))
    return Digits(x[:-TEST_IMAGES], y[:-TEST_IMAGES], x[-TEST_IMAGES:], y[-TEST_IMAGES:])


def train(data: Digits, epochs: int, seed: int, on_epoch: Callable[[Progress], None]) -> nn.Module:
    """Train by the recipe of the paper, scaled down: gates at a tenth of the rate, radius growing.

    Args:
        data: Images and labels.
        epochs: Passes over the training images.
        seed: Seed of weights and batches; the caller's generator is left alone.
        on_epoch: Called after each epoch.

    Returns:
        The trained network in evaluation mode.
    """
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model = DigitsNet()
        gates = [p for name, p in model.named_parameters() if name.endswith("_weight")]
        gate_ids = {id(gate) for gate in gates}
        others = [p for p in model.parameters() if id(p) not in gate_ids]
        optimizer = torch.optim.SGD(
            [{"params": others, "weight_decay": 1e-4}, {"params": gates, "lr": 0.02}],
            lr=0.1,
            momentum=0.9,
        )
        count, batch = len(data.train_images), 64
        total = epochs * (count // batch)
        schedule = torch.optim.lr_scheduler.OneCycleLR(
            optimizer, max_lr=[0.1, 0.02], total_steps=total, pct_start=0.2
        )
        for epoch in range(1, epochs + 1):
            radius = vertex_radius(3) * min(1.0, epoch / (RADIUS_SHARE * epochs))
            set_radius(model, radius)
            losses = []
            for indices in torch.randperm(count)[: count - count % batch].view(-1, batch):
                loss = F.cross_entropy(
                    model(data.train_images[indices]), data.train_labels[indices]
                )
                optimizer.zero_grad()
                loss.backward()  # type: ignore[no-untyped-call]  # untyped in torch
                nn.utils.clip_grad_norm_(gates, 1.0)
                optimizer.step()
                schedule.step()
                losses.append(loss.detach())
            one_hot, number = _one_hot_gates(model)
            mean_loss = float(torch.stack(losses).mean())
            on_epoch(Progress(epoch, epochs, mean_loss, radius, one_hot, number))
    return model.eval()


def _one_hot_gates(model: nn.Module) -> tuple[int, int]:
    layers = [module for module in model.modules() if isinstance(module, SSN2d)]
    fixed = torch.stack([torch.cat([m.mean_fixed, m.var_fixed]) for m in layers])
    return int(fixed.sum()), fixed.numel()


def accuracy(logits: Tensor, labels: Tensor) -> float:
    """Share of rows whose largest logit is the label."""
    return float((logits.argmax(dim=1) == labels).double().mean())
