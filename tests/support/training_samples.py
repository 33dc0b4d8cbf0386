"""Tiny data for the training examples, and how tests run them."""

from __future__ import annotations

import importlib
import shutil
from pathlib import Path

import numpy as np
import torch

torch.backends.cudnn.deterministic = True  # otherwise a GPU may sum in any order

EXAMPLES = Path(__file__).parents[2] / "examples"


def example(name: str):
    return importlib.import_module(name)


def zipped(folder: Path) -> Path:
    return Path(shutil.make_archive(str(folder), "zip", folder))


def classify(data: Path, output: Path, *options: str) -> dict:
    """Train the small ResNet for images of 32x32 and read the checkpoint."""
    tiny = ["--cifar", "--batch", "8", "--epochs", "3", "--workers", "0", "--lr", "1"]
    paths = ["--train", str(data), "--val", str(data), "--output", str(output)]
    example("train_classification").main([*paths, *tiny, *options])
    return torch.load(output / "checkpoint.pth", weights_only=True)


def assert_same(a, b, where: str = "checkpoint") -> None:
    """Every tensor and number of two nested structures is equal, exactly."""
    assert type(a) is type(b), where
    if isinstance(a, dict):
        assert list(a) == list(b), where
        for key in a:
            assert_same(a[key], b[key], f"{where}.{key}")
    elif isinstance(a, list | tuple):
        assert len(a) == len(b), where
        for index, pair in enumerate(zip(a, b, strict=True)):
            assert_same(*pair, f"{where}[{index}]")
    elif isinstance(a, torch.Tensor):
        assert a.dtype == b.dtype, where
        assert torch.equal(a, b), where
    else:
        assert a == b, where


def street(random) -> tuple[np.ndarray, np.ndarray]:
    """An image whose red channel is 20 times the label of each pixel."""
    labels = random.integers(0, 12, (3, 4), dtype=np.uint8).repeat(8, 0).repeat(8, 1)
    return np.stack([labels * 20, *[np.zeros_like(labels)] * 2], -1), labels
