"""Images for calibration, search and test: disjoint, each with its share of every class."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass

import torch

from ssn_prune.errors import DataError
from ssn_prune.images.image_set import ImageSet, TargetKind

CALIBRATION_IMAGES = 100
"""At most; statistics and single harms do not become better with more."""
SEARCH_IMAGES = 200
LEAST = 8
"""Images for each purpose."""


@dataclass(frozen=True)
class Parts:
    """Indices of the images for each purpose.

    Attributes:
        calibration: To measure statistics, single harms, and to train on.
        search: To measure the harm of candidates.
        test: To be opened once, at the end; of another set if one was given.
    """

    calibration: tuple[int, ...]
    search: tuple[int, ...]
    test: tuple[int, ...]


def divide(images: ImageSet, test: ImageSet | None, seed: int = 0) -> Parts:
    """Divide images by class, at random.

    With a set for the test, calibration gets a third of ``images`` and the search the rest, up to
    what is of use. Without one, half of them are for the test.

    Args:
        images: For calibration and search.
        test: Other images for the test; all of them are used.
        seed: Of the order.

    Raises:
        DataError: There are too few.
    """
    count = len(images)
    least = (2 if test is not None else 4) * LEAST
    if count < least:
        raise DataError(
            f"{count} images are too few to search with",
            expected=f"{least} images or more"
            + (
                "" if test is not None else ": a quarter each to calibrate and search, half to test"
            ),
            found=f"{count}",
            hint="give more images, or a part of the training's",
        )
    order = _by_class(images, seed)
    tested: list[int] = []
    if test is None:
        tested, order = order[::2], order[1::2]
    shares = CALIBRATION_IMAGES, SEARCH_IMAGES
    calibration = order[::3][: shares[0]]
    rest = [index for place, index in enumerate(order) if place % 3]
    search = [
        rest[place * len(rest) // min(shares[1], len(rest))]
        for place in range(min(shares[1], len(rest)))
    ]
    if test is not None:
        tested = list(range(len(test)))
    return Parts(tuple(sorted(calibration)), tuple(sorted(search)), tuple(sorted(tested)))


def _by_class(images: ImageSet, seed: int) -> list[int]:
    """All indices in an order whose every stretch has about the same share of each class."""
    generator = torch.Generator().manual_seed(seed)
    order = torch.randperm(len(images), generator=generator).tolist()
    if images.kind is not TargetKind.CLASSES:
        return order
    targets = images.targets(range(len(images)))
    assert targets is not None  # the kind says that there are classes
    members: dict[int, list[int]] = defaultdict(list)
    for index in order:
        members[int(targets[index])].append(index)
    placed = [
        ((place + 0.5) / len(group), index)
        for group in members.values()
        for place, index in enumerate(group)
    ]
    return [index for _, index in sorted(placed)]
