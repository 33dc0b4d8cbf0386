"""The training of the demo, by the recipe of the paper: a minute on two CPU cores."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ssn_prune.architectures.digits import DigitsNet
from ssn_prune.demo.digits import Digits
from ssn_prune.nn.ssn import SSN2d
from ssn_prune.training.history import GateHistory, GateRecords
from ssn_prune.training.parameters import clip_gate_gradients, param_groups
from ssn_prune.training.radius import RadiusSchedule

# All gates are one-hot after this share of the training; the rest trains the selected network.
RADIUS_SHARE = 0.8
RECORDED = 10
"""Training steps between two records of the gates."""


@dataclass(frozen=True)
class Progress:
    """State after one epoch.

    Attributes:
        epoch: Counted from 1.
        epochs: Number of epochs.
        loss: Mean training loss of the epoch.
        radius: SparsestMax radius at the end of the epoch.
        one_hot: Number of gates that are one-hot.
        gates: Number of gates.
    """

    epoch: int
    epochs: int
    loss: float
    radius: float
    one_hot: int
    gates: int


@dataclass(frozen=True)
class Trained:
    """A trained network.

    Attributes:
        model: In evaluation mode.
        history: The history of its gates.
    """

    model: nn.Module
    history: GateRecords


def train(data: Digits, epochs: int, seed: int, on_epoch: Callable[[Progress], None]) -> Trained:
    """Train by the recipe of the paper, scaled down.

    The radius grows, and the gates have a fifth of the learning rate.

    Args:
        data: Images and labels.
        epochs: Passes over the training images.
        seed: Seed of weights and batches; the caller's generator is left alone.
        on_epoch: Called after each epoch.

    Returns:
        The trained network and the history of its gates.
    """
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model = DigitsNet()
        groups = param_groups(model, 0.1, weight_decay=1e-4, gate_lr_ratio=0.2)
        optimizer = torch.optim.SGD(groups, momentum=0.9)
        count, batch = len(data.train_images), 64
        total = epochs * (count // batch)
        warmup = torch.optim.lr_scheduler.OneCycleLR(
            optimizer, max_lr=[0.1, 0.02], total_steps=total, pct_start=0.2
        )
        history = GateHistory(model, every=RECORDED)
        radius = RadiusSchedule(model, max(1, int(RADIUS_SHARE * total)), history=history)
        for epoch in range(1, epochs + 1):
            losses = []
            for indices in torch.randperm(count)[: count - count % batch].view(-1, batch):
                loss = F.cross_entropy(
                    model(data.train_images[indices]), data.train_labels[indices]
                )
                optimizer.zero_grad()
                loss.backward()
                clip_gate_gradients(model)
                optimizer.step()
                warmup.step()
                radius.step()
                losses.append(loss.detach())
            one_hot, number = _one_hot_gates(model)
            mean_loss = float(torch.stack(losses).mean())
            on_epoch(Progress(epoch, epochs, mean_loss, radius.radius(), one_hot, number))
    return Trained(model.eval(), history.records())


def _one_hot_gates(model: nn.Module) -> tuple[int, int]:
    layers = [module for module in model.modules() if isinstance(module, SSN2d)]
    fixed = torch.stack([torch.cat([m.mean_fixed, m.var_fixed]) for m in layers])
    return int(fixed.sum()), fixed.numel()


def accuracy(logits: Tensor, labels: Tensor) -> float:
    """Share of rows whose largest logit is the label."""
    return float((logits.argmax(dim=1) == labels).double().mean())
