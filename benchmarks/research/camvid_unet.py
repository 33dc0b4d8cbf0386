"""A small U-Net with InstanceNorm, trained on CamVid: an ordinary network for the search.

    python benchmarks/research/camvid_unet.py camvid.zip --out unet.pth [--epochs 60]

The archive is laid out as for ``examples/train_segmentation.py``. Images are 96 pixels high and 128
wide; for training, random crops of 3/4 to all of their size are taken and flipped at random. The
optimizer is Adam with learning rate 2e-3 and a cosine schedule. The mean IoU is over the whole test
part, without void.

``ssn-prune search unet.pth --arch camvid_unet:unet`` takes the file, with this folder on
PYTHONPATH.
"""

from __future__ import annotations

import argparse
import time
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

CLASSES, VOID = 11, 11
SIZE = (96, 128)
MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)


def _stage(inputs: int, outputs: int) -> nn.Sequential:
    layers: list[nn.Module] = []
    for before in (inputs, outputs):
        conv = nn.Conv2d(before, outputs, 3, padding=1, bias=False)
        layers += [conv, nn.InstanceNorm2d(outputs, affine=True), nn.ReLU(inplace=True)]
    return nn.Sequential(*layers)


class UNet(nn.Module):
    """Input (N, 3, H, W), logits (N, CLASSES, H, W); H and W are multiples of 8."""

    input_size = (3, *SIZE)

    def __init__(self, width: int) -> None:
        super().__init__()
        widths = [width * 2**level for level in range(4)]
        self.down = nn.ModuleList(
            _stage(before, after) for before, after in zip([3, *widths], widths, strict=False)
        )
        self.up = nn.ModuleList(
            _stage(deep + skip, skip)
            for deep, skip in zip(widths[:0:-1], widths[-2::-1], strict=True)
        )
        self.head = nn.Conv2d(width, CLASSES, 1)

    def forward(self, x: Tensor) -> Tensor:
        """The logits of every pixel."""
        skips: list[Tensor] = []
        for stage in self.down:
            x = stage(F.max_pool2d(x, 2) if skips else x)
            skips.append(x)
        skips.pop()
        for stage in self.up:
            skip = skips.pop()
            x = F.interpolate(x, scale_factor=2.0, mode="nearest")
            x = stage(torch.cat((x, skip), 1))
        logits: Tensor = self.head(x)
        return logits


def unet(width: int = 12) -> UNet:
    """Build the network; ``width`` channels at full resolution, 8 times as many at the bottom."""
    return UNet(width)


def read_part(path: Path, part: str) -> tuple[Tensor, Tensor]:
    """Images (N, 3, 96, 128), float32 in [0, 1], and label maps (N, 96, 128), int64."""
    from torchvision.transforms import v2
    from torchvision.transforms.functional import InterpolationMode

    from ssn_prune.images.decoding import decoded
    from ssn_prune.images.layouts import layout_of

    layout = layout_of(path / part)
    assert layout.maps is not None, f"{path} has no {part}annot beside {part}"
    nearest = v2.Resize(SIZE, InterpolationMode.NEAREST)
    images, maps = [], []
    for place in range(len(layout.names)):
        pixels = np.array(decoded(layout.files, layout.names[place]).convert("RGB"))
        images.append(v2.Resize(SIZE)(torch.from_numpy(pixels).permute(2, 0, 1)).float() / 255)
        labels = np.array(decoded(layout.maps, layout.map_names[place]))
        maps.append(nearest(torch.from_numpy(labels)[None])[0].long())
    return torch.stack(images), torch.stack(maps)


def changed(images: Tensor, maps: Tensor, drawn: torch.Generator) -> tuple[Tensor, Tensor]:
    """One random crop for the batch, resized back, and a flip of every other batch."""
    share = 0.75 + 0.25 * float(torch.rand((), generator=drawn))
    height, width = (round(share * side) for side in SIZE)
    top = int(torch.randint(0, SIZE[0] - height + 1, (), generator=drawn))
    left = int(torch.randint(0, SIZE[1] - width + 1, (), generator=drawn))
    window = (..., slice(top, top + height), slice(left, left + width))
    images = F.interpolate(images[window], SIZE, mode="bilinear", align_corners=False)
    maps = F.interpolate(maps[window][:, None].float(), SIZE, mode="nearest")[:, 0].long()
    if torch.rand((), generator=drawn) < 0.5:
        images, maps = images.flip(-1), maps.flip(-1)
    return images, maps


@torch.no_grad()
def mean_iou(model: nn.Module, images: Tensor, maps: Tensor) -> float:
    """Mean IoU over the classes that occur, over all pixels of the set except void."""
    model.eval()
    counts = torch.zeros(CLASSES, CLASSES, dtype=torch.int64)
    for inputs, labels in zip(images.split(8), maps.split(8), strict=True):
        known = labels != VOID
        pairs = labels[known] * CLASSES + model(inputs).argmax(1)[known]
        counts += torch.bincount(pairs, minlength=CLASSES**2).view(CLASSES, CLASSES)
    hit = counts.diag()
    union = counts.sum(0) + counts.sum(1) - hit
    return float((hit[union > 0] / union[union > 0]).mean())


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("data", type=Path)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--epochs", type=int, default=60)
    parser.add_argument("--batch", type=int, default=8)
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()
    torch.manual_seed(arguments.seed)
    drawn = torch.Generator().manual_seed(arguments.seed)
    mean, std = torch.tensor(MEAN)[:, None, None], torch.tensor(STD)[:, None, None]
    parts = {}
    for part in ("train", "val", "test"):
        images, maps = read_part(arguments.data, part)
        parts[part] = (images - mean) / std, maps
    images, maps = parts["train"]
    model = unet()
    optimizer = torch.optim.Adam(model.parameters(), 2e-3)
    steps = arguments.epochs * (len(images) // arguments.batch)
    scheduler = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, steps)
    for epoch in range(1, arguments.epochs + 1):
        start, losses = time.perf_counter(), []
        model.train()
        order = torch.randperm(len(images), generator=drawn)
        for rows in order.split(arguments.batch):
            if len(rows) < arguments.batch:
                continue
            inputs, labels = changed(images[rows], maps[rows], drawn)
            loss = F.cross_entropy(model(inputs), labels, ignore_index=VOID)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            scheduler.step()
            losses.append(loss.item())
        if epoch % 5 == 0 or epoch == arguments.epochs:
            print(
                f"epoch {epoch}/{arguments.epochs}: loss {np.mean(losses):.4f}, val mean IoU "
                f"{mean_iou(model, *parts['val']):.1%}, {time.perf_counter() - start:.1f} s",
                flush=True,
            )
    print(f"test mean IoU {mean_iou(model, *parts['test']):.1%}")
    torch.save({"state_dict": model.state_dict()}, arguments.out)


if __name__ == "__main__":
    main()
