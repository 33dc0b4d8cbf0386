"""How two networks do on the same images. Data only."""

from __future__ import annotations

from dataclasses import dataclass

from ssn_prune.images.image_set import TargetKind


@dataclass(frozen=True)
class Accuracy:
    """Shares in [0, 1]; None where they do not apply.

    Attributes:
        top1: Of images whose largest output is the target's.
        top5: Of images whose target is among the five largest outputs.
        miou: Mean over classes of intersection over union, counted over all pixels of all images;
            classes that neither the targets nor the predictions have are left out.
    """

    top1: float | None = None
    top5: float | None = None
    miou: float | None = None


@dataclass(frozen=True)
class PairedDifference:
    """A difference of accuracy, in [-1, 1].

    Attributes:
        mean: Second network less the first.
        lower: Lower end of its interval.
        upper: Upper end.
        confidence: Of the interval.
    """

    mean: float
    lower: float
    upper: float
    confidence: float


@dataclass(frozen=True)
class DifferingImage:
    """An image of which the file says something else than the original.

    Attributes:
        name: Of the image.
        target: Its class; None if that is not known, or there is one for each pixel.
        original: The class that the original gives it; None if there is one for each pixel, or
            none at all.
        file: That of the file.
        changed: Share of positions with another class: 1, or a share of the pixels; 0 where outputs
            are no classes.
        difference: Mean difference of its outputs, in units of their mean magnitude.
        picture: A small picture, PNG in base64; None if it is no picture, or one of many.
    """

    name: str
    target: str | None
    original: str | None
    file: str | None
    changed: float
    difference: float
    picture: str | None = None


@dataclass(frozen=True)
class AccuracyReport:
    """The original and the file on the same images.

    Attributes:
        source: Where the images are from, as it was given.
        images: How many were compared.
        available: How many there are.
        kind: What is known of each.
        original: Accuracy of the original network, in torch and float32.
        file: That of the file, in its runtime.
        difference: File less original, of top-1 or mean intersection over union, with its interval;
            None without labels.
        agreement: Share of images, or of pixels, that get the same class; None where outputs are no
            classes.
        relative_difference: Mean over images of the mean difference of the outputs, in units of
            their mean magnitude.
        largest_difference: The largest of these.
        without_class: Share of the pixels whose label means no class; None without maps.
        differing: Number of images of which the file says something else.
        listed: These, those with the largest change first, to a bound.
    """

    source: str
    images: int
    available: int
    kind: TargetKind
    original: Accuracy
    file: Accuracy
    difference: PairedDifference | None
    agreement: float | None
    relative_difference: float
    largest_difference: float
    without_class: float | None
    differing: int
    listed: tuple[DifferingImage, ...] = ()
