"""Small image data sets, in each layout that can be read."""

from __future__ import annotations

import zipfile
from pathlib import Path

import numpy as np
from PIL import Image

from ssn_prune.images.preprocessing import Preprocessing

GREY = Preprocessing((1, 8, 8), (0.5,), (0.5,))


def noise(seed: int, shape: tuple[int, ...] = (8, 8)) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, shape, dtype=np.uint8)


def class_folders(
    folder: Path, classes: tuple[str, ...] = ("a", "b", "c"), each: int = 4, first: int = 0
) -> Path:
    """Grey PNG files of 8x8 noise, from the ``first`` seed on."""
    for place, name in enumerate(classes):
        (folder / name).mkdir(parents=True)
        for index in range(each):
            Image.fromarray(noise(first + place * each + index)).save(
                folder / name / f"{index}.png"
            )
    return folder


def pairs(folder: Path, count: int = 3, classes: int = 3) -> Path:
    """Folders ``test`` and ``testannot``, whose value ``classes`` means no class."""
    for name in ("test", "testannot"):
        (folder / name).mkdir(parents=True)
    for index in range(count):
        Image.fromarray(noise(index, (8, 8, 3))).save(folder / "test" / f"{index}.png")
        labels = (noise(100 + index) % (classes + 1)).astype(np.uint8)
        Image.fromarray(labels).save(folder / "testannot" / f"{index}.png")
    return folder / "test"


def zip_of(folder: Path, inside: str = "") -> Path:
    target = folder.with_suffix(".zip")
    with zipfile.ZipFile(target, "w") as archive:
        for file in sorted(folder.rglob("*")):
            archive.write(file, inside + file.relative_to(folder).as_posix())
    return target
