"""Handwritten digits to train on.

The images are 1,797 8x8 digits from the UCI repository; data/README.md names their source.
"""

from __future__ import annotations

from dataclasses import dataclass
from importlib.resources import files

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

TEST_IMAGES = 360


@dataclass(frozen=True)
class Digits:
    """Images (N, 1, 16, 16) in [-1, 1], and labels (N,), for training and test."""

    train_images: Tensor
    train_labels: Tensor
    test_images: Tensor
    test_labels: Tensor


def load_digits() -> Digits:
    """Load the bundled images, enlarged to 16x16; the last 360 are the test set."""
    with files("ssn_prune").joinpath("demo/data/digits.npz").open("rb") as file:
        content = np.load(file, allow_pickle=False)
        images, labels = content["images"], content["labels"]
    x = torch.from_numpy(images.astype(np.float32)).unsqueeze(1) / 8 - 1
    x = F.interpolate(x, scale_factor=2, mode="bilinear", align_corners=False)
    y = torch.from_numpy(labels.astype(np.int64))
    return Digits(x[:-TEST_IMAGES], y[:-TEST_IMAGES], x[-TEST_IMAGES:], y[-TEST_IMAGES:])
