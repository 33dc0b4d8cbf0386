"""What the training examples share: processes, seeds, one training step, sums, conversion."""

from __future__ import annotations

import contextlib
import copy
import os
import random
import sys
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.distributed as dist
from rich.progress import track
from torch import Tensor, nn

from ssn_prune import (
    RadiusSchedule,
    clip_gate_gradients,
    export_onnx,
    param_groups,
    prune,
    random_batches,
    verify,
)
from ssn_prune.errors import ArgumentError
from ssn_prune.nn.ssn import SSN


@dataclass(frozen=True)
class Processes:
    """This process, and its place among those of the training.

    Attributes:
        rank: Its number, from 0.
        count: How many there are.
        device: Where it computes.
    """

    rank: int
    count: int
    device: torch.device

    @property
    def first(self) -> bool:
        """Whether this one writes and prints."""
        return self.rank == 0


@contextlib.contextmanager
def join_processes() -> Iterator[Processes]:
    """Join the processes that torchrun started; without torchrun there is this one only."""
    rank, count = int(os.environ.get("RANK", 0)), int(os.environ.get("WORLD_SIZE", 1))
    device = torch.device("cpu")
    if torch.cuda.is_available():
        device = torch.device("cuda", int(os.environ.get("LOCAL_RANK", 0)))
        torch.cuda.set_device(device)
    if count > 1:
        dist.init_process_group("nccl" if device.type == "cuda" else "gloo")
    try:
        yield Processes(rank, count, device)
    finally:
        if count > 1:
            dist.destroy_process_group()


def seed_epoch(seed: int, epoch: int, rank: int = 0) -> None:
    """Seed all generators of this process for one epoch.

    All random numbers of an epoch, those of data workers included, then follow from three numbers.
    A training can thus be resumed bit by bit at the start of any epoch, without a stored generator
    state. On a GPU that needs ``torch.backends.cudnn.deterministic = True``, which makes
    convolutions slower.
    """
    value = int(np.random.SeedSequence((seed, epoch, rank)).generate_state(1)[0])
    random.seed(value)
    np.random.seed(value)
    torch.manual_seed(value)


def progress(batches: Any, label: str, shown: bool = True) -> Iterable[Any]:
    """Iterate over a loader; on a terminal, with a progress bar that vanishes at the end."""
    if not (shown and sys.stdout.isatty()):
        return batches
    return track(batches, description=label, total=len(batches), transient=True)


class Precision:
    """Automatic mixed precision.

    Args:
        name: ``"bf16"``, ``"fp16"``, or None for float32.
        device: Where the network computes.

    Attributes:
        autocast: A context manager factory for the forward pass.
        scaler: Scales the loss for float16, so that gradients do not vanish; else does nothing.

    Raises:
        ArgumentError: float16 on a CPU, where it is not worth its gradient scaling.
    """

    def __init__(self, name: str | None, device: torch.device) -> None:
        if name == "fp16" and device.type != "cuda":
            raise ArgumentError(
                "float16 needs a GPU", expected="--amp bf16", found=f"--amp fp16 on {device.type}"
            )
        dtype = torch.float16 if name == "fp16" else torch.bfloat16
        self.autocast = partial(torch.autocast, device.type, dtype=dtype, enabled=name is not None)
        self.scaler = torch.amp.GradScaler(device.type, enabled=name == "fp16")


def sgd(model: nn.Module, lr: float, weight_decay: float = 1e-4) -> torch.optim.SGD:
    """SGD as in the paper: gates in a group of their own, with lr / 10 and no weight decay."""
    return torch.optim.SGD(param_groups(model, lr, weight_decay=weight_decay), momentum=0.9)


def steps_down(optimizer: torch.optim.Optimizer, epochs: int) -> Any:
    """Divide the learning rate by ten after 30, 60 and 90 % of the epochs."""
    milestones = [max(1, round(epochs * share)) for share in (0.3, 0.6, 0.9)]
    return torch.optim.lr_scheduler.MultiStepLR(optimizer, milestones)


def update(
    loss: Tensor,
    model: nn.Module,
    optimizer: torch.optim.Optimizer,
    schedule: RadiusSchedule | None,
    precision: Precision,
) -> None:
    """One training step, after the forward pass: where SSN differs from any other training."""
    optimizer.zero_grad()
    precision.scaler.scale(loss).backward()
    precision.scaler.unscale_(optimizer)
    clip_gate_gradients(model, 1.0)  # the gates only
    precision.scaler.step(optimizer)
    precision.scaler.update()
    if schedule is not None:
        schedule.step()  # a larger radius: the gates become sparser


class Sums:
    """Mean loss and accuracy over an epoch, without waiting for the device at every batch."""

    def __init__(self, device: torch.device) -> None:
        self._totals = torch.zeros(3, dtype=torch.float64, device=device)

    @torch.no_grad()
    def add(self, loss: Tensor, logits: Tensor, labels: Tensor) -> None:
        """Count a batch: its mean loss, logits (N, classes) and labels (N,)."""
        right = (logits.argmax(1) == labels).sum()
        count = len(labels)
        self._totals += torch.stack(
            (loss.double() * count, right.double(), right.new_tensor(count))
        )

    def result(self, count: int = 1) -> tuple[float, float]:
        """Loss and accuracy in percent, over ``count`` processes."""
        if count > 1:
            dist.all_reduce(self._totals)
        loss, right, total = self._totals.tolist()
        return loss / total, 100 * right / total


def ssn_layers(model: nn.Module) -> list[SSN]:
    """The SSN layers of a network."""
    return [module for module in model.modules() if isinstance(module, SSN)]


def one_hot_gates(layers: Sequence[SSN]) -> str:
    """How many gates are one-hot, such as ``12/30``."""
    flags = [flag for layer in layers for flag in (layer.mean_fixed, layer.var_fixed)]
    return f"{int(torch.cat(flags).sum())}/{len(flags)}" if flags else "-"


def convert_and_verify(model: nn.Module, inputs: Tensor, path: Path) -> bool:
    """Prune a trained network, write it as ONNX, compare both, and print what came out.

    Args:
        model: With one-hot gates; not changed.
        inputs: Two or more samples of real data.
        path: The file to write; replaced if it exists.

    Returns:
        Whether the file reproduces the network's outputs.
    """
    pruned = prune(copy.deepcopy(model).cpu(), inputs.cpu())
    stats = export_onnx(pruned.model, inputs.cpu(), path, force=True)
    report = verify(pruned, path, random_batches([tuple(inputs.shape[1:])], (1, 2, 3)))
    pairs = [f"{layer.mean.choice}/{layer.var.choice}" for layer in pruned.report.layers]
    counts = ", ".join(f"{pairs.count(pair)} {pair}" for pair in sorted(set(pairs)))
    print(f"{len(pairs)} layers selected (mean/variance): {counts}")
    print(f"{path}: {stats.nodes} nodes, verified: {report.passed}")
    return report.passed
