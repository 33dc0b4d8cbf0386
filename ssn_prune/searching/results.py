"""What a search found. Data only; docs/search.md documents the JSON form."""

from __future__ import annotations

from dataclasses import dataclass

from ssn_prune.accuracy.results import Accuracy, PairedDifference
from ssn_prune.errors import ArgumentError
from ssn_prune.normalizer import NormalizerPair

SCHEMA_VERSION = 1

DEVIATIONS = 1.96
"""Standard errors on each side of a 95 % interval."""


@dataclass(frozen=True)
class SearchOptions:
    """How to search.

    Attributes:
        budget: Latency of the result at most, as a ratio to the network without norms; None for no
            bound.
        max_drop: Accuracy that may be lost on the images of the search, in points: percent of the
            images (mIoU for maps), or percent of the outputs' magnitude without labels. None for
            no bound where there is a budget, and otherwise 0.5.
        finetune_steps: Steps of distillation for the chosen network; 0 for none.
        search_images: Images that candidates are measured with, at most. One of 160 is 0.6 points,
            so a smaller bound wants more.
        points: Measured points of the front, at least.
        rounds: Rounds of candidates at most.
        memory: Bytes that the activations of a batch may take.
        threads: Threads of the runtime, for latencies.
        batch: Samples per run, for latencies.
        runs: Timed runs of each file.
        seed: Of the division of the images and of the distillation.
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

    @property
    def allowed_drop(self) -> float | None:
        """The bound on the drop, in points."""
        if self.max_drop is None and self.budget is None:
            return 0.5
        return self.max_drop


@dataclass(frozen=True)
class ImageCounts:
    """How many images served which purpose; no image served two.

    Attributes:
        calibration: To measure statistics and single harms.
        search: To measure candidates.
        test: Opened once, at the end.
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
    """One layer changed alone.

    Attributes:
        layer: Path of the layer.
        depth: Place of the layer among all, from 0.
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
        drop: Accuracy lost on the search images, in points: what was measured, or what the
            original's probabilities expect if that is more; without labels the change of the
            outputs in percent. The images are shifted and scaled a little, unless they have maps.
        accuracy: On the same images.
        predicted_ratio: Latency by the costs, in units of the network without norms.
        ratio: Latency of the whole file, in one run with all others; None if only predicted.
        lower: First quartile of that.
        upper: Third quartile.
        difference: Accuracy less the original's on the same images, with its interval; None without
            labels.
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
        chosen: That of the chosen network.
        difference: Chosen less original, with its interval; None without labels.
        harm: Divergence of the outputs.
        error: Its standard error.
        same_class: Share of the images with the same class; None without classes.
    """

    original: Accuracy
    chosen: Accuracy
    difference: PairedDifference | None
    harm: float
    error: float
    same_class: float | None


@dataclass(frozen=True)
class SearchReport:
    """A whole search.

    Attributes:
        schema_version: See docs/search.md.
        options: How it was searched.
        images: How many images it had.
        layers: Layers of the network.
        harm_unit: ``"nats"`` for classes (Kullback-Leibler), ``"relative"`` without labels.
        singles: All alternatives that were tried alone.
        front: From the slowest, the original, to the fastest.
        chosen: Index of the chosen point in the front.
        norm_free_ms: Latency of the network without norms, measured with the front.
        all_bn: The network with BN/BN everywhere, and its statistics measured again.
        saved: Share of what normalization cost that is gone: 1 for a network as fast as the one
            without norms.
        finetuned: The chosen point after distillation; None if there was none.
        test: The final accuracy.
        additive_error: How far predicted latencies of the front are from measured ones, root mean
            square in units of the network without norms.
        candidates: Candidates whose joint harm was measured.
        shared_prefixes: Whether what candidates have in common was computed once.
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

    def __post_init__(self) -> None:
        """Refuse a chosen point that is none.

        Raises:
            ArgumentError: The front has no such point.
        """
        if not 0 <= self.chosen < len(self.front):
            raise ArgumentError(
                "the chosen point is none of the front",
                expected=f"`chosen` from 0 to {len(self.front) - 1}"
                if self.front
                else "a front of one point or more",
                found=str(self.chosen),
                hint="give the report as the search wrote it",
            )

    @property
    def has_classes(self) -> bool:
        """Whether outputs are classes, so that losses are points of accuracy."""
        return self.harm_unit == "nats"

    @property
    def is_refuted(self) -> bool:
        """Whether the final test loses more than allowed, with its whole 95 % interval."""
        allowed, found = self.options.allowed_drop, self.test.difference
        if allowed is None:
            return False
        if found is not None:
            return -100 * found.upper > allowed
        if self.has_classes:  # without labels nothing says how many points are lost
            return False
        return 100 * (self.test.harm - DEVIATIONS * self.test.error) > allowed
