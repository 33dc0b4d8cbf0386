"""Read all images before the work starts, so that a bad one is found at once."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from ssn_prune.accuracy.per_image import VOID, PerImage, joined, require_labelled, score
from ssn_prune.errors import DataError
from ssn_prune.images.image_set import ImageSet
from ssn_prune.text import printable, shown

READ_AT_ONCE = 8
_MANY = 0.005
"""Share of the pixels without a class that is more than the unclear ones between objects."""


@dataclass(frozen=True)
class Contents:
    """What the images of one purpose hold.

    Attributes:
        digest: A hash of inputs and labels.
        images: A hash of the inputs of each image, and its name.
    """

    digest: str
    images: dict[str, str]


def read_images(
    images: ImageSet,
    indices: Sequence[int],
    example: Tensor,
    step: Callable[[], None],
    *,
    scored: bool,
) -> Contents:
    """Read images and their labels.

    Args:
        images: A set.
        indices: The images of it that will be used.
        example: The first output of the network for one image, which the labels must fit.
        step: Called after each ``READ_AT_ONCE`` images.
        scored: Whether networks are scored on them: label maps must then have labelled pixels.

    Raises:
        DataError: An image or a label cannot be read, does not fit the network, or means nothing.
    """
    digest = hashlib.sha256()
    names: dict[str, str] = {}
    scores: list[PerImage] = []
    void = pixels = 0
    for start in range(0, len(indices), READ_AT_ONCE):
        part = indices[start : start + READ_AT_ONCE]
        inputs, targets = images.inputs(part), images.targets(part)
        scores.append(score(example.expand(len(part), *example.shape[1:]), targets, images.kind))
        for place, index in enumerate(part):
            tensors = [tensor[place] for tensor in inputs]
            if not all(bool(tensor.isfinite().all()) for tensor in tensors):
                raise _not_finite(images, index)
            one = hashlib.sha256()
            for tensor in tensors:
                one.update(f"{tensor.dtype} {tuple(tensor.shape)}".encode())
                one.update(as_bytes(tensor))
            digest.update(one.digest())
            names.setdefault(one.hexdigest(), images.names[index])
        if targets is not None:
            digest.update(f"{targets.dtype} {tuple(targets.shape)}".encode())
            digest.update(as_bytes(targets))
            void += int((targets == VOID).sum())
            pixels += targets.numel()
        step()
    if scored:
        results = joined(scores)
        require_labelled(results, images.source)
        _require_several_classes(results, images.source, void / max(pixels, 1))
    return Contents(digest.hexdigest(), names)


def require_other_images(used: Sequence[Contents], test: Contents) -> None:
    """Refuse a test set with images that the search uses.

    Args:
        used: What the search reads.
        test: The images of a test set that was given.

    Raises:
        DataError: There are some.
    """
    before = {one: name for contents in used for one, name in contents.images.items()}
    shared = [one for one in test.images if one in before]
    if shared:
        raise DataError(
            f"{len(shared)} of the test images are also among those of the search",
            expected="a final test on images that nothing else has seen",
            found=f"{shown(test.images[shared[0]])} of the test is {shown(before[shared[0]])} of "
            "the others",
            hint="give no test images: half of the others are then set aside for the test; or "
            "remove the shared ones from either set",
        )


def _require_several_classes(results: PerImage, source: str, void: float) -> None:
    """Refuse label maps of one class in which 255 stands for another one.

    Args:
        results: The results of all images.
        source: Where they are from.
        void: Share of the pixels with the label 255.

    Raises:
        DataError: The maps are such.
    """
    if results.counts is None or results.counts.shape[2] > VOID:
        return
    present = results.counts[:, 2].sum(0).nonzero().flatten().tolist()
    if len(present) == 1 and void > _MANY:
        raise DataError(
            f"the label maps of {printable(source)} have class {present[0]} alone, and {VOID}, "
            "which means no class",
            expected=f"classes 0 to {results.counts.shape[2] - 1}; {VOID} does not count",
            found=f"{VOID} in {void:.1%} of the pixels",
            hint=f"if {VOID} stands for a class, save its number instead, such as 1: "
            f"labels[labels == {VOID}] = 1; otherwise give images of other classes, too",
        )


def as_bytes(tensor: Tensor) -> bytes:
    """The values of a tensor in memory."""
    return tensor.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy().tobytes()


def _not_finite(images: ImageSet, index: int) -> DataError:
    return DataError(
        f"{printable(images.source)}: {shown(images.names[index])} holds nan or inf",
        expected="finite numbers in every input, as float32",
        found="an image whose outputs mean nothing",
        hint="remove it, or replace these values: numpy.nan_to_num(array)",
    )
