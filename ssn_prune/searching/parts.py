"""Split images into disjoint parts for calibration, search and test, stratified by class."""

from __future__ import annotations

from dataclasses import dataclass

import torch

from ssn_prune.errors import DataError
from ssn_prune.images.image_set import ImageSet, TargetKind, spread_evenly

CALIBRATION_IMAGES = 64
"""Upper limit; more images do not improve statistics and single harms."""
LEAST = 8
"""A search needs 4 times as many images, or twice with a test set."""


@dataclass(frozen=True)
class Parts:
    """Indices of the images for each purpose.

    Attributes:
        calibration: To measure statistics and single harms.
        training: To distil with: those of the calibration and all that are left over.
        search: To measure the harm of candidates.
        test: For the final test; indices into the test set if one was given.
    """

    calibration: tuple[int, ...]
    training: tuple[int, ...]
    search: tuple[int, ...]
    test: tuple[int, ...]


def divide(images: ImageSet, test: ImageSet | None, seed: int = 0, *, search_images: int) -> Parts:
    """Divide images at random, with each class in the same proportion in every part.

    With a test set, calibration gets a third of ``images`` and the search the rest, each up to its
    limit. Without one, half of ``images`` are first set aside for the test.

    Args:
        images: For calibration and search.
        test: Other images for the test; all of them are used.
        seed: Seed of the random order.
        search_images: Largest number of images for the search.

    Raises:
        DataError: There are too few.
    """
    count = len(images)
    least = (2 if test is not None else 4) * LEAST
    if count < least:
        raise DataError(
            f"{count} images are too few to search with",
            expected=f"{least} images or more"
            + ("" if test is not None else ": half of them are for the final test"),
            found=f"{count}",
            hint="give more images, such as a part of the training images",
        )
    if test is not None and not len(test):
        raise DataError(
            "the test set has no images",
            expected="one image or more, and hundreds for a narrow confidence interval",
            found="0",
            hint="give no test images: half of the others are then set aside for the test",
        )
    order = _by_class(images, seed)
    tested = tuple(range(len(test))) if test is not None else tuple(sorted(order[::2]))
    if test is None:
        order = order[1::2]
    calibration = set(_spread(order[::3], CALIBRATION_IMAGES))
    search = _spread([i for place, i in enumerate(order) if place % 3], search_images)
    training = sorted(set(order).difference(search))
    return Parts(tuple(sorted(calibration)), tuple(training), tuple(sorted(search)), tested)


def _spread(order: list[int], limit: int) -> list[int]:
    """At most ``limit`` of the indices, evenly spaced."""
    return [order[place] for place in spread_evenly(len(order), limit)]


def _by_class(images: ImageSet, seed: int) -> list[int]:
    """All indices, class by class and at random within each: every n-th then covers all classes."""
    generator = torch.Generator().manual_seed(seed)
    order: list[int] = torch.randperm(len(images), generator=generator).tolist()
    if images.kind is not TargetKind.CLASSES:
        return order
    targets = images.targets(order)
    assert targets is not None  # the kind says that there are classes
    return [order[place] for place in targets.argsort(stable=True).tolist()]
