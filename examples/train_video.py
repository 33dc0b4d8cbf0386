"""Train a video network with SSN3d to classify which way a clip moves, convert and verify it.

    python examples/train_video.py --train cifar-train.zip --val cifar-test.zip --width 8
    python examples/train_video.py --train camvid.zip/train --val camvid.zip/val --size 112

The clips are not recordings. Each is built from one still image by moving a crop over it along a
straight line, and its label is the direction: 4 or 8 of them. A single frame does not show the
direction, and neither do the frames without their order: a clip and its reverse have the same ones.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from image_data import MEAN, STD
from torch import Tensor, nn
from torch.nn import functional as F
from torch.utils.data import DataLoader, Dataset
from torchvision.models.video import r3d_18
from torchvision.models.video.resnet import BasicBlock
from torchvision.transforms import v2
from training_loop import (
    Precision,
    Sums,
    convert_and_verify,
    one_hot_gates,
    progress,
    seed_epoch,
    sgd,
    ssn_layers,
    steps_down,
    update,
)

from ssn_prune import GateHistory, RadiusSchedule, SsnPruneError, convert_to_ssn
from ssn_prune.errors import ArgumentError
from ssn_prune.images.decoding import decoded
from ssn_prune.images.image_set import spread_evenly
from ssn_prune.images.layouts import layout_of

# (down, right) per frame; the first four are those of a 4-direction task.
DIRECTIONS = ((-1, 0), (1, 0), (0, -1), (0, 1), (-1, -1), (-1, 1), (1, -1), (1, 1))


class MovingCrops(Dataset[tuple[Tensor, int]]):
    """Clips (3, T, S, S) with the index of their direction.

    Args:
        path: Still images.
        directions: 4 or 8.
        frames: T.
        size: S.
        speed: Pixels per frame.
        limit: Number of images to use, spread evenly over all; None for all.
        seed: For the same clips at every call, one per image; None for random ones.
    """

    def __init__(
        self,
        path: Path,
        directions: int,
        frames: int,
        size: int,
        speed: int,
        limit: int | None,
        seed: int | None,
    ) -> None:
        layout = layout_of(path)
        self._files = layout.files
        self._names = [layout.names[i] for i in spread_evenly(len(layout.names), limit)]
        self._directions, self._frames, self._size = directions, frames, size
        self._speed, self._seed = speed, seed

    def __len__(self) -> int:
        return len(self._names)

    def __getitem__(self, index: int) -> tuple[Tensor, int]:
        generator = torch.default_generator
        if self._seed is not None:
            generator = torch.Generator().manual_seed(self._seed + index)
        still = v2.functional.to_image(decoded(self._files, self._names[index]).convert("RGB"))
        path = (self._frames - 1) * self._speed  # pixels from the first frame to the last
        smallest = self._size + path
        if min(still.shape[1:]) < smallest:
            still = v2.functional.resize(still, [smallest])
        label = int(torch.randint(self._directions, (), generator=generator))
        # The box is large enough for every direction: its place says nothing about the label.
        corner = [
            int(torch.randint(side - smallest + 1, (), generator=generator))
            for side in still.shape[1:]
        ]
        frames = []
        for frame in range(self._frames):
            top, left = (
                start + (path + step * (2 * frame - self._frames + 1) * self._speed) // 2
                for start, step in zip(corner, DIRECTIONS[label], strict=True)
            )
            frames.append(still[:, top : top + self._size, left : left + self._size])
        clip = v2.functional.to_dtype(torch.stack(frames), torch.float32, scale=True)
        normalized = v2.functional.normalize(clip, list(MEAN), list(STD))
        return normalized.transpose(0, 1).as_subclass(Tensor), label


class NarrowBlock(nn.Module):
    """Two 3x3x3 convolutions around a shortcut; the last norm starts with weight 0."""

    def __init__(self, inputs: int, outputs: int, stride: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv3d(inputs, outputs, 3, stride, 1, bias=False)
        self.norm1 = nn.BatchNorm3d(outputs)
        self.conv2 = nn.Conv3d(outputs, outputs, 3, 1, 1, bias=False)
        self.norm2 = nn.BatchNorm3d(outputs)
        nn.init.zeros_(self.norm2.weight)
        self.shortcut = nn.Sequential(
            nn.Conv3d(inputs, outputs, 1, stride, bias=False), nn.BatchNorm3d(outputs)
        )

    def forward(self, x: Tensor) -> Tensor:
        """(N, inputs, T, H, W) to (N, outputs, T / stride, H / stride, W / stride)."""
        y = self.norm2(self.conv2(F.relu(self.norm1(self.conv1(x)))))
        return F.relu(y + self.shortcut(x))


def video_network(width: int | None, num_classes: int) -> nn.Module:
    """A 3-D ResNet with SSN layers, without trained weights.

    Args:
        width: Channels of the first of three blocks; None for torchvision's r3d_18.
        num_classes: Outputs.
    """
    if width is None:
        model: nn.Module = r3d_18(weights=None, num_classes=num_classes)
        for block in model.modules():
            if isinstance(block, BasicBlock):
                nn.init.zeros_(block.conv2[-1].weight)
    else:
        model = nn.Sequential(
            nn.Conv3d(3, width, (3, 5, 5), (1, 2, 2), (1, 2, 2), bias=False),
            nn.BatchNorm3d(width),
            nn.ReLU(),
            NarrowBlock(width, width, 1),
            NarrowBlock(width, 2 * width, 2),
            NarrowBlock(2 * width, 4 * width, 2),
            nn.AdaptiveAvgPool3d(1),
            nn.Flatten(),
            nn.Linear(4 * width, num_classes),
        )
    return convert_to_ssn(model, inplace=True).model


@torch.no_grad()
def accuracy(model: nn.Module, loader: DataLoader[Any], device: torch.device) -> float:
    """Top-1 accuracy in percent."""
    model.eval()
    sums = Sums(device)
    for clips, labels in loader:
        logits, labels = model(clips.to(device)), labels.to(device)
        sums.add(F.cross_entropy(logits, labels), logits, labels)
    return sums.result()[1]


def arguments(argv: Sequence[str] | None) -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    add = parser.add_argument
    add("--train", type=Path, required=True, help="still images, a folder or zip")
    add("--val", type=Path, required=True, help="other still images")
    add("--output", type=Path, default=Path("runs/video"), help="folder for the files")
    add("--width", type=int, help="channels of a small ResNet to use instead of r3d_18")
    add("--directions", type=int, choices=(4, 8), default=8)
    add("--frames", type=int, default=8)
    add("--size", type=int, default=24, help="pixels a side of a frame")
    add("--speed", type=int, default=1, help="pixels per frame")
    add("--epochs", type=int, default=20)
    add("--batch", type=int, default=16)
    add("--lr", type=float, default=0.05)
    add("--amp", nargs="?", const="bf16", choices=("bf16", "fp16"), help="mixed precision")
    add("--seed", type=int, default=0)
    add("--limit", type=int, help="number of images to use of each set")
    add("--workers", type=int, default=2, help="processes that read images")
    return parser.parse_args(argv)


def main(argv: Sequence[str] | None = None) -> None:
    """Train, report the accuracy after every epoch, convert, verify."""
    args = arguments(argv)
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    shape = (args.directions, args.frames, args.size, args.speed, args.limit)
    training, validation = MovingCrops(args.train, *shape, None), MovingCrops(args.val, *shape, 0)
    options = {"batch_size": args.batch, "num_workers": args.workers}
    loader = DataLoader(training, shuffle=True, drop_last=True, **options)
    if not len(loader):
        raise ArgumentError(f"{len(training)} images make no batch of {args.batch}")

    seed_epoch(args.seed, 0)
    model = video_network(args.width, args.directions).to(device)
    layers, precision = ssn_layers(model), Precision(args.amp, device)
    optimizer = sgd(model, args.lr)
    scheduler = steps_down(optimizer, args.epochs)
    history = GateHistory(model)
    schedule = RadiusSchedule(model, args.epochs * len(loader), end=1.0, history=history)

    for epoch in range(1, args.epochs + 1):
        start = time.perf_counter()
        seed_epoch(args.seed, epoch)
        model.train()
        sums = Sums(device)
        for clips, labels in progress(loader, f"epoch {epoch}"):
            clips, labels = clips.to(device), labels.to(device)
            with precision.autocast():
                logits = model(clips)
            loss = F.cross_entropy(logits.float(), labels)
            update(loss, model, optimizer, schedule, precision)
            sums.add(loss, logits, labels)
        scheduler.step()
        train_loss, train_accuracy = sums.result()
        val_accuracy = accuracy(model, DataLoader(validation, **options), device)
        print(
            f"epoch {epoch}/{args.epochs}: loss {train_loss:.4f}, train {train_accuracy:.2f} %, "
            f"val {val_accuracy:.2f} %, radius {schedule.radius():.3f}, "
            f"one-hot gates {one_hot_gates(layers)}, {time.perf_counter() - start:.1f} s",
            flush=True,
        )

    args.output.mkdir(parents=True, exist_ok=True)
    history.records().save(args.output / "gates.npz")
    examples = torch.stack([validation[i][0] for i in range(2)])
    if not convert_and_verify(model, examples, args.output / "model.onnx"):
        sys.exit("the file does not reproduce the network's outputs")


if __name__ == "__main__":
    try:
        main()
    except SsnPruneError as error:
        sys.exit(str(error))
