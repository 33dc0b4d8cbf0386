"""Accuracy of BN, GN, SN and SSN on a part of CIFAR-10 with few images per worker.

    python benchmarks/research/cifar_accuracy.py TRAIN.zip TEST.zip --out runs.jsonl [--seeds 0 1 2]
    python benchmarks/research/cifar_accuracy.py --table runs.jsonl

The archives hold one folder of JPEG files per class. As in the paper (arXiv 1903.03793, section
4.1) there are 8 workers with b images each, b = 16, 4, 2, and the learning rate is 0.1 for 128
images in total, scaled linearly with their number. Workers are emulated in one process: the batch
of 8 b is split into 8 groups with batch statistics of their own, whose averages go into the running
statistics (momentum 0.1) of evaluation.

- BN: SSN layers with the gates fixed at BN/BN, so that workers are emulated in the same way. That
  is nn.BatchNorm2d on every worker, except that the running variance is not Bessel-corrected.
- GN: nn.GroupNorm with 8 groups.
- SN: SwitchNorm2d, whose gates stay a softmax.
- SSN: SSN2d, radius linear from 0 to its end at 80 % of the training; pruned afterwards.
- SSN late: the same, but the radius stays 0 for half of the training and ends at 90 %. In a short
  training gates otherwise decide before the weights have settled.

Everything else is the same for all: a ResNet with one basic block per stage (16, 32, 64 channels,
the stem at stride 2), the last norm of each block starting at 0, SGD with momentum 0.9 and weight
decay 1e-4, one epoch of warm-up and a cosine schedule, random crops and flips. Gates have a tenth
of the learning rate, no weight decay and their gradient norm clipped to 1.

Every finished run is appended to the file, and runs that the file has are skipped. ``--weights``
keeps the trained networks, for ``cifar_search.py``. OMP_NUM_THREADS sets the number of threads, on
which the order of sums depends.
"""

from __future__ import annotations

import argparse
import math
import platform
import time
from collections.abc import Callable
from datetime import date
from pathlib import Path
from typing import Any

import cifar_runs
import torch
from cifar_data import CLASSES, Images, Normalization, TrainingBatches, read_images
from torch import Tensor, nn
from torch.nn import functional as F

from ssn_prune import __version__
from ssn_prune.nn.ssn import SSN2d
from ssn_prune.nn.switch_norm import SwitchNorm2d
from ssn_prune.nn.switchable import SwitchableNorm
from ssn_prune.normalizer import Normalizer
from ssn_prune.pruning.prune import prune
from ssn_prune.selection import select
from ssn_prune.training.parameters import clip_gate_gradients, param_groups
from ssn_prune.training.radius import RadiusSchedule

WORKERS = 8
BATCHES = (16, 4, 2)  # images per worker
BASE_LR, BASE_BATCH = 0.1, 128
# Shares of the training at which the radius starts to grow and every gate is one-hot.
RADIUS = {"SSN": (0.0, 0.8), "SSN late": (0.5, 0.9)}


def batch_norm(channels: int) -> nn.Module:
    """BN with the statistics of each worker."""
    layer = SSN2d(channels)
    layer.fix(Normalizer.BN, Normalizer.BN)
    return layer


NORMS: dict[str, Callable[[int], nn.Module]] = {
    "BN": batch_norm,
    "GN": lambda channels: nn.GroupNorm(8, channels),
    "SN": SwitchNorm2d,
    "SSN": SSN2d,
    "SSN late": SSN2d,
}


class Block(nn.Module):
    """A basic residual block; its last norm starts with weight 0."""

    def __init__(
        self, before: int, channels: int, stride: int, norm: Callable[[int], nn.Module]
    ) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(before, channels, 3, stride, 1, bias=False)
        self.norm1 = norm(channels)
        self.conv2 = nn.Conv2d(channels, channels, 3, 1, 1, bias=False)
        self.norm2 = norm(channels)
        nn.init.zeros_(self.norm2.weight)
        self.shortcut = nn.Sequential()
        if stride != 1 or before != channels:
            conv = nn.Conv2d(before, channels, 1, stride, bias=False)
            self.shortcut = nn.Sequential(conv, norm(channels))

    def forward(self, x: Tensor) -> Tensor:
        """(N, before, H, W) to (N, channels, H / stride, W / stride)."""
        y = self.norm2(self.conv2(F.relu(self.norm1(self.conv1(x)))))
        return F.relu(y + self.shortcut(x))


class SmallResNet(nn.Module):
    """Input (N, 3, 32, 32), logits (N, 10); the stages work on 16, 8 and 4 pixels a side."""

    input_size = (3, 32, 32)

    def __init__(self, norm: Callable[[int], nn.Module]) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, 16, 3, 2, 1, bias=False)
        self.norm = norm(16)
        self.stages = nn.Sequential(
            Block(16, 16, 1, norm), Block(16, 32, 2, norm), Block(32, 64, 2, norm)
        )
        self.head = nn.Linear(64, CLASSES)
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")

    def forward(self, x: Tensor) -> Tensor:
        """Logits of the images."""
        features = self.stages(F.relu(self.norm(self.conv(x))))
        return self.head(F.adaptive_avg_pool2d(features, 1).flatten(1))


def emulate_workers(model: nn.Module, workers: int) -> None:
    """Emulate that many workers with batch statistics of their own, in place."""
    for layer in model.modules():
        if isinstance(layer, SwitchableNorm):
            layer.batch_groups = workers


def train(
    model: nn.Module,
    norm: str,
    batches: TrainingBatches,
    lr: float,
    epochs: int,
    penalty: Callable[[], Tensor] | None = None,
) -> float:
    """Train in place; returns the mean loss of the last epoch, not finite if it diverged.

    ``penalty`` is added to the loss of each step.
    """
    total, warmup = epochs * len(batches), len(batches)
    learned_gates = norm == "SN" or norm in RADIUS
    groups = param_groups(model, lr, weight_decay=1e-4, gate_lr_ratio=0.1)
    optimizer = torch.optim.SGD(groups, lr=lr, momentum=0.9)
    start, end = (math.floor(share * total) for share in RADIUS.get(norm, (0, 1)))
    radius: RadiusSchedule | None = None

    def factor(step: int) -> float:
        if step < warmup:
            return (step + 1) / warmup
        return 0.5 * (1 + math.cos(math.pi * (step - warmup) / max(1, total - warmup)))

    scheduler = torch.optim.lr_scheduler.LambdaLR(optimizer, factor)
    model.train()
    losses: list[float] = []
    done = 0
    for _ in range(epochs):
        losses.clear()
        for indices in batches.epoch():
            if norm in RADIUS and done == start:
                radius = RadiusSchedule(model, end - start)
            inputs, labels = batches.load(indices)
            loss = F.cross_entropy(model(inputs), labels)
            if penalty is not None:
                loss = loss + penalty()
            optimizer.zero_grad()
            loss.backward()
            if learned_gates:
                clip_gate_gradients(model, 1.0)
            optimizer.step()
            scheduler.step()
            if radius is not None:
                radius.step()
            done += 1
            losses.append(loss.item())
    return sum(losses) / len(losses)


@torch.inference_mode()
def predict(model: nn.Module, inputs: Tensor) -> Tensor:
    """The label of each input, (N,)."""
    model.eval()
    return torch.cat([model(part).argmax(1) for part in inputs.split(500)])


def run(
    norm: str,
    b: int,
    seed: int,
    epochs: int,
    training: Images,
    test: Images,
    weights: Path | None = None,
) -> dict:
    """Train and evaluate one network, and keep it in the folder ``weights``."""
    start = time.perf_counter()
    torch.manual_seed(seed)
    model = SmallResNet(NORMS[norm])
    emulate_workers(model, WORKERS)
    normalize = Normalization(training)
    batches = TrainingBatches(training, WORKERS * b, normalize, seed)
    loss = train(model, norm, batches, BASE_LR * WORKERS * b / BASE_BATCH, epochs)
    trained = time.perf_counter()
    emulate_workers(model, 1)
    inputs = normalize(test.pixels)
    labels = predict(model, inputs)
    record: dict[str, Any] = {
        "norm": norm,
        "b": b,
        "seed": seed,
        "epochs": epochs,
        "images": len(training),
        "test_images": len(test),
        "accuracy": _accuracy(labels, test),
        "train_loss": loss if math.isfinite(loss) else None,  # NaN is not JSON
        "train_seconds": round(trained - start, 1),
    }
    if weights is not None:
        weights.mkdir(parents=True, exist_ok=True)
        name = f"{norm.replace(' ', '_')}-b{b}-seed{seed}.pth"
        torch.save(model.state_dict(), weights / name)
    if norm in RADIUS:
        pruned = predict(prune(model, inputs[:8]).model, inputs)
        record["accuracy_pruned"] = _accuracy(pruned, test)
        record["labels_changed"] = int((pruned != labels).sum())
        record["selection"] = {layer.name: str(layer.pair) for layer in select(model).layers}
    record["seconds"] = round(time.perf_counter() - start, 1)
    versions = {"ssn_prune": __version__, "torch": torch.__version__}
    record["versions"] = {**versions, "python": platform.python_version()}
    record["threads"] = torch.get_num_threads()
    record["cpu"] = cifar_runs.cpu_name()
    record["date"] = date.today().isoformat()
    return record


def _accuracy(labels: Tensor, test: Images) -> float:
    return float((labels == test.labels).double().mean())


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("train", type=Path, nargs="?")
    parser.add_argument("test", type=Path, nargs="?")
    parser.add_argument("--table", type=Path, metavar="RUNS", help="print a table of finished runs")
    parser.add_argument("--out", type=Path, help="JSON lines, one per run; appended to")
    parser.add_argument("--norms", nargs="+", choices=NORMS, default=list(NORMS))
    parser.add_argument("--batches", type=int, nargs="+", default=BATCHES, help="b per worker")
    parser.add_argument("--weights", type=Path, metavar="FOLDER", help="keep the networks there")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--epochs", type=int, default=15)
    parser.add_argument("--images", type=int, default=5000, help="for training")
    parser.add_argument("--test-images", type=int, default=2000)
    arguments = parser.parse_args()
    if arguments.table is not None:
        print(cifar_runs.table(cifar_runs.read(arguments.table)))
        return
    if arguments.test is None or arguments.out is None:
        parser.error("give both archives and --out, or --table")
    torch.use_deterministic_algorithms(True)
    training = read_images(arguments.train, arguments.images)
    test = read_images(arguments.test, arguments.test_images)
    finished = {cifar_runs.key(record) for record in cifar_runs.read(arguments.out)}
    for seed in arguments.seeds:  # outermost: what is interrupted still has complete comparisons
        for b in arguments.batches:
            for norm in arguments.norms:
                sizes = len(training), len(test)
                if (norm, b, seed, arguments.epochs, *sizes) in finished:
                    continue
                record = run(norm, b, seed, arguments.epochs, training, test, arguments.weights)
                cifar_runs.append(arguments.out, record)
                print(cifar_runs.line(record), flush=True)


if __name__ == "__main__":
    main()
