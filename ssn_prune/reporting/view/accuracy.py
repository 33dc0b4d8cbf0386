"""The results on images, in words and figures."""

from __future__ import annotations

from dataclasses import dataclass

from ssn_prune.accuracy.results import AccuracyReport, DifferingImage, PairedDifference
from ssn_prune.images.image_set import TargetKind
from ssn_prune.images.preprocessing import Preprocessing
from ssn_prune.reporting.figures import counted, percent, points, share, small
from ssn_prune.reporting.view.preprocessing import normalization_text, resizing_text


@dataclass(frozen=True)
class ShownImage:
    """An image for which the file's answer differs from the original's.

    Attributes:
        name: Name of the image.
        what: The answers of both.
        picture: PNG in base64; None if there is none.
    """

    name: str
    what: str
    picture: str | None


@dataclass(frozen=True)
class AccuracyView:
    """Both networks on images.

    Attributes:
        finding: The result in one sentence.
        what: The number and the source of the images.
        columns: Names of the networks.
        rows: Figures of both, each with its label.
        notes: Further remarks.
        images: Images with different answers, as many as are listed.
        differing: Number of images with different answers.
    """

    finding: str
    what: str
    columns: tuple[str, str]
    rows: tuple[tuple[str, tuple[str, str]], ...]
    notes: tuple[str, ...]
    images: tuple[ShownImage, ...]
    differing: int


def accuracy_view(found: AccuracyReport, how: Preprocessing | None) -> AccuracyView:
    """Describe the results on images.

    Args:
        found: The results.
        how: The preprocessing of the images; None if they came as inputs, or if it is not known.
    """
    before, after = found.original, found.file
    figures = (
        ("top-1 accuracy", before.top1, after.top1),
        ("top-5 accuracy", before.top5, after.top5),
        ("mean IoU", before.miou, after.miou),
    )
    rows = tuple(
        (label, (percent(first), percent(second)))
        for label, first, second in figures
        if first is not None and second is not None
    )
    some = "" if found.images == found.available else f"{found.images:,} of "
    return AccuracyView(
        finding=_finding(found),
        what=f"{some}{counted(found.available, 'image')} of {found.source}",
        columns=("original", "file"),
        rows=rows,
        notes=tuple(_notes(found, how)),
        images=tuple(ShownImage(i.name, _said(i), i.picture) for i in found.listed),
        differing=found.differing,
    )


def _finding(found: AccuracyReport) -> str:
    agreement = _agreement(found)
    if found.difference is None:
        return agreement
    before, after = (
        (r.top1 if r.miou is None else r.miou) or 0.0 for r in (found.original, found.file)
    )
    what = "of the images right" if found.original.miou is None else "mean IoU"
    if found.difference.mean == 0:
        return f"Both get {percent(before)} {what}; {agreement[0].lower()}{agreement[1:]}"
    chance = "within chance" if _may_be_zero(found.difference) else "more than chance"
    return (
        f"The file gets {percent(after)} {what}, the original {percent(before)}: that is {chance}"
    )


def _may_be_zero(difference: PairedDifference) -> bool:
    return difference.lower <= 0 <= difference.upper


def _agreement(found: AccuracyReport) -> str:
    if found.agreement is None:
        if found.differing:
            return f"The outputs of {counted(found.differing, 'image')} clearly differ"
        return f"Outputs differ by at most {_part(found.largest_difference)} on every image"
    if not found.differing:
        what = "all pixels" if found.kind is TargetKind.MAPS else "all images"
        return f"The file gives {what} the same class"
    if found.kind is TargetKind.MAPS:
        return f"The file gives {share(1 - found.agreement)} of the pixels another class"
    return f"The file gives {counted(found.differing, 'image')} another class"


def _notes(found: AccuracyReport, how: Preprocessing | None) -> list[str]:
    notes = []
    difference = found.difference
    if difference is not None:
        ends = f"{points(difference.lower)} to {points(difference.upper)}"
        notes.append(
            f"File minus original: {points(difference.mean)} points; the "
            f"{100 * difference.confidence:.0f} % interval of the paired difference is {ends}"
        )
        if difference.mean:
            notes.append(_agreement(found))
    notes.append(
        f"Outputs differ by {_part(found.relative_difference)} of their mean magnitude on "
        f"average, and by {_part(found.largest_difference)} at most"
    )
    if found.without_class is not None:
        notes.append(
            f"{share(found.without_class)} of the pixels have a label that is no class of the "
            "network; they do not count"
        )
    if how is not None:
        notes.append(
            f"Images are {resizing_text(how)}; inputs are {normalization_text(how)} of pixels x"
        )
    return notes


def _said(image: DifferingImage) -> str:
    by = f"outputs differ by {_part(image.difference)}"
    if image.original is None:
        return f"{share(image.changed)} of the pixels; {by}" if image.changed else by
    target = "" if image.target is None else f"is {image.target}, "
    return f"{target}original {image.original}, file {image.file}"


def _part(value: float) -> str:
    return share(value) if value > 0.01 else small(value)
