"""How well two networks do on the same images. Data only."""

from __future__ import annotations

from dataclasses import dataclass

from ssn_prune.images.image_set import TargetKind


@dataclass(frozen=True)
class Accuracy:
    """Shares in [0, 1]; None where they do not apply.

    Attributes:
        top1: Share of images whose largest output is the target's.
        top5: Share of images whose target is among the five largest outputs.
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
        mean: The second network's accuracy minus the first's.
        lower: Lower end of its confidence interval.
        upper: Upper end of the interval.
        confidence: The confidence level of the interval, such as 0.95.
    """

    mean: float
    lower: float
    upper: float
    confidence: float


@dataclass(frozen=True)
class DifferingImage:
    """An image for which the file predicts another class, or its outputs clearly differ.

    Attributes:
        name: The name of the image.
        target: Its class; None if that is not known, or if each pixel has one.
        original: The class that the original predicts; None if each pixel has one, or if the
            outputs are not class scores.
        file: The class that the file predicts, likewise.
        changed: Share of positions with another class: 1, or a share of the pixels; 0 if the
            outputs are not class scores.
        difference: Mean difference of its outputs, in units of their mean magnitude.
        picture: A small picture, PNG in base64; None if the input is not a picture, or for images
            far down a long list.
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
        images: Number of images that were compared.
        available: Number of images that there are.
        kind: What is known about each image.
        original: Accuracy of the original network, in torch and float32.
        file: Accuracy of the file, in its runtime.
        difference: Top-1 accuracy, or mean intersection over union, of the file minus the
            original's, with its confidence interval; None without labels.
        agreement: Share of images, or of pixels, that get the same class; None if the outputs are
            not class scores.
        relative_difference: Mean over images of the mean difference of the outputs, in units of
            their mean magnitude.
        largest_difference: The largest mean difference of an image.
        without_class: Share of the pixels whose label means no class; None without label maps.
        differing: Number of images with another class, or with clearly different outputs where
            these are not class scores.
        listed: The first of these images, those with the largest change first.
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
