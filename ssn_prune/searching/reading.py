"""Read all images before the work starts, so that a bad one is found at once."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from ssn_prune.accuracy.per_image import VOID, PerImage, joined, require_labelled, score
from ssn_prune.errors import DataError
from ssn_prune.images.fitting import require_fitting
from ssn_prune.images.image_set import ImageSet, TargetKind
from ssn_prune.progress import Progress
from ssn_prune.searching.parts import Parts
from ssn_prune.searching.results import SearchOptions
from ssn_prune.searching.time_left import TimeLeft
from ssn_prune.text import printable, shown

_READ_AT_ONCE = 8
_MANY = 0.005
"""Share of the pixels without a class that is more than the unclear ones between objects."""
_COPIES = 0.01
"""Share of the test images that may be copies of others, which data sets like CIFAR-10 contain."""


@dataclass(frozen=True)
class Contents:
    """What the images of one purpose hold.

    Attributes:
        digest: A hash of inputs and labels.
        images: A hash of the inputs of each image, and its name.
    """

    digest: str
    images: dict[str, str]


def require_fitting_labels(
    images: ImageSet, test_images: ImageSet | None, outputs: Sequence[Tensor]
) -> None:
    """Refuse sets of images by the kind and number of their classes, before they are read.

    Args:
        images: The images of the search.
        test_images: Those of the final test, if they are others.
        outputs: The network's outputs for any number of images.

    Raises:
        DataError: The network has another number of classes, or the loss on the test images would
            be another quantity than that of the search.
    """
    for given in (images, test_images):
        if given is not None and given.kind is TargetKind.CLASSES and outputs[0].dim() == 2:
            require_fitting(given, outputs[0].shape[1])  # other shapes are refused later
    if test_images is not None and test_images.kind != images.kind:
        what = {TargetKind.CLASSES: "classes", TargetKind.MAPS: "maps", TargetKind.NONE: "none"}
        raise DataError(
            "the test images have other labels than those of the search",
            expected=f"the same labels: {what[images.kind]}",
            found=what[test_images.kind],
            hint="give both with the same kind of labels, or leave the test images out, so that a "
            "part of the others is kept for the test",
        )


def read_all(
    images: ImageSet,
    test_images: ImageSet | None,
    parts: Parts,
    example: Tensor,
    options: SearchOptions,
    progress: Progress,
) -> list[str]:
    """Read all images that will be used.

    Args:
        images: The images of the search.
        test_images: Those of the final test, if they are others.
        parts: Which images serve which purpose.
        example: The first output of the network for one image, which the labels must fit.
        options: How to search.
        progress: Called with the time left.

    Returns:
        Hashes of the images that harms are measured on.

    Raises:
        DataError: An image or a label cannot be used, or the test images serve another purpose.
    """
    tested = images if test_images is None else test_images
    rest = set(parts.training).difference(parts.calibration) if options.finetune_steps else ()
    unscored = [(images, parts.calibration), (images, tuple(rest))]
    scored = [(images, parts.search), (tested, parts.test)]
    count = sum(-(-len(indices) // _READ_AT_ONCE) for _, indices in (*unscored, *scored))
    left = TimeLeft(progress, "reading the images", count)

    def read(own: ImageSet, indices: Sequence[int], *, scored: bool) -> Contents:
        return read_images(own, indices, example, left, scored=scored)

    calibration, training = (read(*one, scored=False) for one in unscored)
    search, test = (read(*one, scored=True) for one in scored)
    if test_images is not None:
        require_other_images([calibration, training, search], test)
    return [calibration.digest, search.digest]


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
        step: Called after every eight images.
        scored: Whether networks are scored on them: label maps must then have labelled pixels.

    Raises:
        DataError: An image or a label cannot be read, does not fit the network, or means nothing.
    """
    digest = hashlib.sha256()
    names: dict[str, str] = {}
    scores: list[PerImage] = []
    void = pixels = 0
    for start in range(0, len(indices), _READ_AT_ONCE):
        part = indices[start : start + _READ_AT_ONCE]
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
    """Refuse a test set of images that the search uses.

    Args:
        used: What the search reads.
        test: The images of a test set that was given.

    Raises:
        DataError: More than one in a hundred are also there.
    """
    before = {one: name for contents in used for one, name in contents.images.items()}
    shared = [one for one in test.images if one in before]
    if len(shared) > _COPIES * len(test.images):
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
