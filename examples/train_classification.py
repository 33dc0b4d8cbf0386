"""Train an image classifier with SSN, by the recipe of the paper (arXiv 1903.03793).

    python examples/train_classification.py --train train.zip --val val.zip --arch timm:resnet18
    python examples/train_classification.py --cifar --train cifar-train.zip --val cifar-test.zip
    torchrun --nproc_per_node=2 examples/train_classification.py --train train/ --val val/

Data: one folder of images per class, or a zip of such folders. Networks: ``torchvision:NAME`` and
``timm:NAME``, whose norm layers are swapped, the reference ``resnetv1ssn18`` ... ``resnetv1sn152``,
and ``cifar-resnet`` for images of 32x32 pixels.

Recipe: SGD with momentum 0.9, a learning rate of 0.1 for 256 images a step, divided by ten after
30, 60 and 90 % of the epochs, and weight decay 1e-4. Gates have a tenth of the learning rate and no
weight decay, and their gradient is clipped to norm 1. The radius grows from 0 to 1, so that every
gate is one-hot after 82 % of the training. The last norm of each residual block starts at 0.

``--latency-weight 0.5`` makes gates prefer normalizers that cost little in ONNX Runtime.

The folder ``--output`` gets ``checkpoint.pth`` after every epoch, from which ``--resume`` gives
exactly the same numbers as without interruption. It also gets ``gates.npz``, the history of the
gates (``ssn-prune inspect --history``). The last printed line is the command that converts the
result.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from checkpoints import read_training, resume_history, save_atomically
from classification_options import FREE_ON_RESUME, arguments
from classifiers import converter_name, how_to_convert, network
from image_data import ClassFolders, training_transform, validation_transform
from latency_costs import training_costs
from torch import nn
from torch.nn import functional as F
from torch.nn.parallel import DistributedDataParallel
from torch.utils.data import DataLoader, DistributedSampler, Subset
from training_loop import (
    Precision,
    Processes,
    Sums,
    join_processes,
    one_hot_gates,
    progress,
    seed_epoch,
    sgd,
    ssn_layers,
    steps_down,
    update,
)

from ssn_prune import (
    FrozenSelection,
    GateHistory,
    LatencyPenalty,
    RadiusSchedule,
    SsnPruneError,
    average_running_statistics,
    freeze_selected,
    select,
    synchronize,
)
from ssn_prune.errors import ArgumentError


def read_data(
    args: argparse.Namespace, own: Processes
) -> tuple[list[str], DataLoader[Any], DataLoader[Any]]:
    """The classes, and the images that this process trains on and validates with."""
    transform = training_transform(args.size, cifar=args.cifar)
    training = ClassFolders(args.train, transform, args.limit)
    transform = validation_transform(args.size, cifar=args.cifar)
    validation = ClassFolders(args.val, transform, args.limit, training.classes)
    sampler: Any = DistributedSampler(training, own.count, own.rank, seed=args.seed)
    own_share = Subset(validation, range(own.rank, len(validation), own.count))
    # New workers for every epoch, so that their seeds follow from the epoch's.
    options: dict[str, Any] = {"batch_size": args.batch, "num_workers": args.workers}
    options["pin_memory"] = own.device.type == "cuda"
    loader = DataLoader(training, sampler=sampler, drop_last=True, **options)
    if not len(loader) or not len(own_share):
        raise ArgumentError(
            "there are too few images",
            expected=f"at least {args.batch * own.count} for training, {own.count} for validation",
            found=f"{len(training)} and {len(validation)}",
            hint="lower --batch, or raise --limit",
        )
    return training.classes, loader, DataLoader(own_share, **options)


@torch.no_grad()
def validate(
    model: nn.Module, loader: DataLoader[Any], own: Processes, precision: Precision
) -> float:
    """Top-1 accuracy in percent over the images of all processes."""
    model.eval()
    sums = Sums(own.device)
    for images, labels in loader:
        images, labels = images.to(own.device), labels.to(own.device)
        with precision.autocast():
            logits = model(images)
        sums.add(F.cross_entropy(logits.float(), labels), logits, labels)
    return sums.result(own.count)[1]


class Training:
    """A network with everything that changes while it is trained.

    Args:
        args: The command line.
        own: This process.
        classes: Names of the classes.
        steps_per_epoch: Batches of this process.
    """

    def __init__(
        self, args: argparse.Namespace, own: Processes, classes: list[str], steps_per_epoch: int
    ) -> None:
        self.args, self.own, self.classes = args, own, classes
        self.settings = {k: v for k, v in vars(args).items() if k not in FREE_ON_RESUME}
        self.settings["processes"] = own.count
        seed_epoch(args.seed, 0)  # the same weights in all processes
        self.model = network(args.arch, args.norm, len(classes)).to(own.device)
        self.layers = ssn_layers(self.model)
        self.precision = Precision(args.amp, own.device)
        self.optimizer = sgd(self.model, args.lr * args.batch * own.count / 256, args.weight_decay)
        self.scheduler = steps_down(self.optimizer, args.epochs)
        steps = args.epochs * steps_per_epoch
        self.history = GateHistory(self.model, every=max(1, steps // 1000))
        self.frozen: FrozenSelection | None = None
        self.schedule: RadiusSchedule | None = None
        if self.layers:  # SN and BN have no radius
            self.schedule = RadiusSchedule(
                self.model,
                steps,
                end=args.radius_end,
                history=self.history,
                on_frozen=self._freeze if args.freeze_selected else None,
            )
        self.penalty: LatencyPenalty | None = None
        if args.latency_weight is not None:
            costs = training_costs(self.model, args.size, args.costs, args.output, own)
            self.penalty = LatencyPenalty(self.model, costs, weight=args.latency_weight)
        self.epochs_done, self.best = 0, 0.0
        if args.resume is not None:
            self._resume(args.resume)
        self.wrapped: nn.Module = self.model
        if own.count > 1:
            if args.sync_statistics:
                synchronize(self.model)
            self.wrapped = DistributedDataParallel(self.model)
            # Else the first process's running statistics would replace those of the others, which
            # are averaged before validation.
            self.wrapped.broadcast_buffers = False

    def _freeze(self, model: nn.Module) -> None:
        self.frozen = freeze_selected(model)

    def run_epoch(self, loader: DataLoader[Any]) -> tuple[float, float]:
        """Train for one epoch; returns mean loss and accuracy in percent."""
        own, epoch = self.own, self.epochs_done + 1
        assert isinstance(loader.sampler, DistributedSampler)
        loader.sampler.set_epoch(epoch)
        seed_epoch(self.args.seed, epoch, own.rank)
        self.wrapped.train()
        sums = Sums(own.device)
        for images, labels in progress(loader, f"epoch {epoch}", own.first):
            images, labels = images.to(own.device), labels.to(own.device)
            with self.precision.autocast():
                logits = self.wrapped(images)
            loss = F.cross_entropy(logits.float(), labels)
            if self.penalty is not None:
                loss = loss + self.penalty()
            update(loss, self.model, self.optimizer, self.schedule, self.precision)
            sums.add(loss, logits, labels)
        self.scheduler.step()
        if own.count > 1 and not self.args.sync_statistics:
            average_running_statistics(self.model)
        self.epochs_done = epoch
        return sums.result(own.count)

    def save(self, path: Path) -> None:
        """Write a checkpoint, which ``ssn-prune convert`` also reads, and next to it the gates."""
        if self.layers:
            self.history.records().save(path.with_name("gates.npz"))
        weights = self.frozen.switchable_state_dict() if self.frozen else self.model.state_dict()
        content = {
            "epoch": self.epochs_done,
            "model": converter_name(self.args.arch),
            "state_dict": weights,
            "best_prec1": self.best,
            "optimizer": self.optimizer.state_dict(),
            "lr_scheduler": self.scheduler.state_dict(),
            "scaler": self.precision.scaler.state_dict(),
            "schedule": self.schedule.state_dict() if self.schedule else None,
            "settings": self.settings,  # with the seed, from which all generators follow
            "input_size": [3, self.args.size, self.args.size],
            "classes": self.classes,
        }
        save_atomically(content, path)

    def _resume(self, path: Path) -> None:
        state = read_training(path, self.settings)
        self.epochs_done, self.best = state["epoch"], state["best_prec1"]
        self.model.load_state_dict(state["state_dict"])
        self.optimizer.load_state_dict(state["optimizer"])
        self.scheduler.load_state_dict(state["lr_scheduler"])
        self.precision.scaler.load_state_dict(state["scaler"])
        if self.schedule is not None:
            self.schedule.load_state_dict(state["schedule"])
            resume_history(self.history, path.with_name("gates.npz"), self.schedule.steps_done)
            if self.schedule.frozen and self.args.freeze_selected:
                self._freeze(self.model)


def train(args: argparse.Namespace, own: Processes) -> None:
    """The whole training, in one of the processes; the first one prints a line per epoch."""
    classes, loader, val_loader = read_data(args, own)
    training = Training(args, own, classes, len(loader))
    schedule, checkpoint = training.schedule, args.output / "checkpoint.pth"
    if own.first:
        args.output.mkdir(parents=True, exist_ok=True)
    while training.epochs_done < args.epochs:
        start = time.perf_counter()
        loss, accuracy = training.run_epoch(loader)
        val_accuracy = validate(training.model, val_loader, own, training.precision)
        training.best = max(training.best, val_accuracy)
        if own.first:
            training.save(checkpoint)
            print(
                f"epoch {training.epochs_done}/{args.epochs}: loss {loss:.4f}, "
                f"train {accuracy:.2f} %, val {val_accuracy:.2f} %, "
                f"radius {schedule.radius() if schedule else 0:.3f}, "
                f"one-hot gates {one_hot_gates(training.layers)}, "
                f"{time.perf_counter() - start:.1f} s",
                flush=True,
            )
    if training.layers and training.frozen is None:
        select(training.model).require_converged()
    if own.first:
        print(f"convert: {how_to_convert(checkpoint, args.arch, args.norm, args.size)}")


def main(argv: Sequence[str] | None = None) -> None:
    """Train, in one process or in those of torchrun."""
    args = arguments(argv, (__doc__ or "").partition("\n")[0])
    with join_processes() as own:
        train(args, own)


if __name__ == "__main__":
    try:
        main()
    except SsnPruneError as error:
        sys.exit(str(error))
