"""The results of a search. Data only; docs/search.md documents the JSON form."""

from __future__ import annotations

import math
from dataclasses import dataclass
from numbers import Integral

from ssn_prune.accuracy.results import Accuracy, PairedDifference
from ssn_prune.errors import ArgumentError
from ssn_prune.normalizer import NormalizerPair

SCHEMA_VERSION = 1

DEVIATIONS = 1.96
"""Standard errors on each side of a 95 % interval."""


_LEAST = {
    "finetune_steps": 0,
    "search_images": 8,
    "points": 2,
    "rounds": 1,
    "memory": 1,
    "threads": 1,
    "batch": 1,
    "runs": 1,
    "seed": None,
}
"""The smallest value of each option that is a whole number; None for any."""


def _unusable(name: str, value: object, expected: str) -> ArgumentError:
    option = f"{name}="
    return ArgumentError(
        f"a search cannot use `{option}{value}`",
        expected=f"`{option}` with {expected}",
        found=f"`{option}{value}`",
        hint=f"leave `{option}` out",
    )


@dataclass(frozen=True)
class SearchOptions:
    """How to search.

    Attributes:
        budget: Largest latency of the result, relative to the network without norms; None for no
            bound.
        max_drop: Accuracy that may be lost on the search images, in points: percentage points of
            top-1 accuracy (mIoU for maps), and percent of the magnitude of other outputs, or
            without labels of all outputs. None means no bound with a budget, and 0.5 without one.
        finetune_steps: Steps of distillation for each network that is tried; 0 for none.
        search_images: Largest number of images to measure candidates with. One image of 160 is
            0.6 points, so a smaller bound needs more images.
        points: Points of the front to measure, besides those near the allowed drop.
        rounds: Largest number of rounds of candidates.
        memory: Bytes that the activations of a batch may take.
        threads: Threads of the runtime, for latencies.
        batch: Samples per run, for latencies.
        runs: Timed runs of each file.
        seed: Seed for dividing the images and for the distillation.
    """

    budget: float | None = None
    max_drop: float | None = None
    finetune_steps: int = 0
    search_images: int = 160
    points: int = 12
    rounds: int = 5
    memory: int = 2 << 30
    threads: int = 1
    batch: int = 1
    runs: int = 40
    seed: int = 0

    def __post_init__(self) -> None:
        """Refuse values that no search could use.

        Raises:
            ArgumentError: There is one.
        """
        for name, least in _LEAST.items():
            value = getattr(self, name)
            if not isinstance(value, Integral) or (least is not None and value < least):
                what = "a whole number" + ("" if least is None else f" of {least} or more")
                raise _unusable(name, value, what)
        for name, bound in (("budget", "above 0"), ("max_drop", "of 0 or more")):
            value = getattr(self, name)
            if value is None:
                continue
            low = value <= 0 if name == "budget" else value < 0
            if low or not math.isfinite(value):
                raise _unusable(name, value, f"a finite number {bound}")

    @property
    def allowed_drop(self) -> float | None:
        """The bound on the drop, in points."""
        if self.max_drop is None and self.budget is None:
            return 0.5
        return self.max_drop


@dataclass(frozen=True)
class ImageCounts:
    """How many images served each purpose; no image served two.

    Attributes:
        calibration: To measure statistics and single harms.
        search: To measure candidates.
        test: For the final test, at the end; no network sees them before.
    """

    calibration: int
    search: int
    test: int


@dataclass(frozen=True)
class PairChange:
    """A layer that got another pair.

    Attributes:
        layer: Path of the layer.
        before: Its pair; None for gates that weigh several.
        after: The pair that it got.
        saved_ms: Milliseconds that this saves, by the costs.
    """

    layer: str
    before: NormalizerPair | None
    after: NormalizerPair
    saved_ms: float


@dataclass(frozen=True)
class SingleHarm:
    """The harm of changing one layer alone.

    Attributes:
        layer: Path of the layer.
        depth: Index of the layer among all layers, from 0.
        before: Its pair; None for gates that weigh several.
        after: The pair that it got.
        saved_ms: Milliseconds that this saves, by the costs.
        harm: Divergence of the outputs on the calibration images.
        error: Standard error of the harm.
    """

    layer: str
    depth: int
    before: NormalizerPair | None
    after: NormalizerPair
    saved_ms: float
    harm: float
    error: float


@dataclass(frozen=True)
class FrontPoint:
    """A measured network of the front.

    Attributes:
        changes: The layers that got another pair.
        harm: Divergence of the outputs on the search images.
        error: Standard error of the harm.
        drop: Accuracy lost on the search images, in points: the measured loss, or the one expected
            by the original's probabilities if that is larger, or the change of other outputs in
            percent if that is larger still. Without labels, the change of the outputs in percent.
            The images may be moved: see ``SearchReport.moved_images``.
        accuracy: Accuracy on the same images.
        predicted_ratio: Latency predicted from the costs, relative to the network without norms.
        ratio: Measured latency of the whole file, relative to the network without norms; None if
            it is only predicted, for another device.
        lower: First quartile of the measured latency.
        upper: Third quartile of the measured latency.
        difference: Accuracy minus that of the original on the same images, with its confidence
            interval; None without labels.
    """

    changes: tuple[PairChange, ...]
    harm: float
    error: float
    drop: float
    accuracy: Accuracy
    predicted_ratio: float
    ratio: float | None = None
    lower: float | None = None
    upper: float | None = None
    difference: PairedDifference | None = None


@dataclass(frozen=True)
class Tested:
    """The original and the chosen network on images that nothing else has seen.

    Attributes:
        original: Accuracy of the original.
        chosen: Accuracy of the chosen network.
        difference: Chosen minus original, with its confidence interval; None without labels.
        harm: Divergence of the outputs.
        error: Standard error of the harm.
        same_class: Share of the images (pixels for maps) that get the same class from both; None
            without classes.
        others: Mean relative change of the outputs other than the class scores; None without
            classes or without other outputs.
        others_error: Its standard error.
    """

    original: Accuracy
    chosen: Accuracy
    difference: PairedDifference | None
    harm: float
    error: float
    same_class: float | None
    others: float | None = None
    others_error: float | None = None


@dataclass(frozen=True)
class SearchReport:
    """A whole search.

    Attributes:
        schema_version: See docs/search.md.
        options: How it was searched.
        images: How many images served each purpose.
        layers: Number of layers of the network.
        harm_unit: ``"nats"`` for classes (Kullback-Leibler, and the squared relative change of
            other outputs), ``"relative"`` without labels.
        singles: All alternatives, each measured alone.
        front: From the slowest, the original, to the fastest.
        chosen: Index of the chosen point in the front.
        norm_free_ms: Latency of the network without norms, measured with the front, or that of the
            costs if latencies are predicted.
        all_bn: The network with BN/BN everywhere and its repairs; None if a layer does not offer
            it.
        saved: Share of the cost of normalization that is saved: 1 for a network as fast as the one
            without norms.
        finetuned: The chosen point after distillation; None if no distilled network was chosen.
        test: The result of the final test.
        additive_error: Root mean square difference between predicted and measured latencies,
            relative to the network without norms; None if none were measured.
        candidates: Number of candidates whose joint harm was measured.
        shared_prefixes: Whether what candidates have in common was computed only once.
        moved_images: Whether the search images were shifted and scaled slightly.
        predicted_for: Runtime, device and settings of given costs if they are not those of this
            machine and of the options. Latencies are then predicted from these costs, and none is
            measured here. None otherwise.
    """

    schema_version: int
    options: SearchOptions
    images: ImageCounts
    layers: int
    harm_unit: str
    singles: tuple[SingleHarm, ...]
    front: tuple[FrontPoint, ...]
    chosen: int
    norm_free_ms: float
    all_bn: FrontPoint | None
    saved: float | None
    finetuned: FrontPoint | None
    test: Tested
    additive_error: float | None
    candidates: int
    shared_prefixes: bool
    moved_images: bool = False
    predicted_for: str | None = None

    def __post_init__(self) -> None:
        """Refuse a chosen point that is not in the front.

        Raises:
            ArgumentError: The front has no such point.
        """
        if not 0 <= self.chosen < len(self.front):
            raise ArgumentError(
                "the chosen point is not in the front",
                expected=f"`chosen` from 0 to {len(self.front) - 1}"
                if self.front
                else "a front of one point or more",
                found=str(self.chosen),
                hint="give the report as the search wrote it",
            )

    @property
    def has_classes(self) -> bool:
        """Whether outputs are class scores, so that losses are points of accuracy."""
        return self.harm_unit == "nats"

    @property
    def is_refuted(self) -> bool:
        """Whether a whole 95 % interval of the final test is above the bound.

        That is the interval of the accuracy that is lost, or of the change of other outputs.
        """
        allowed, test = self.options.allowed_drop, self.test
        if allowed is None:
            return False
        if self.is_accuracy_refuted:
            return True
        least = []
        if test.others is not None and test.others_error is not None:
            least.append(test.others - DEVIATIONS * test.others_error)
        if not self.has_classes:
            least.append(test.harm - DEVIATIONS * test.error)
        return any(100 * loss > allowed for loss in least)

    @property
    def is_accuracy_refuted(self) -> bool:
        """Whether the whole interval of the accuracy that is lost is above the bound."""
        allowed, found = self.options.allowed_drop, self.test.difference
        return allowed is not None and found is not None and -100 * found.upper > allowed
