"""What the check of a rule may use: the network, its capture, and the decisions so far."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from torch import nn

from ssn_prune.nn.switchable import SwitchableNorm
from ssn_prune.normalizer import NormalizerPair
from ssn_prune.pruning.capture.records import Capture, LayerCall
from ssn_prune.pruning.folds.kernel_range import KernelRanges
from ssn_prune.pruning.plan import IDENTITY, AffineStep, Fold, Refusal


@dataclass(frozen=True)
class Candidate:
    """A layer that may fold.

    Attributes:
        name: Its first path.
        module: The layer.
        pair: What it selected; None for a weighted form.
        form: Code of its form without a fold.
    """

    name: str
    module: SwitchableNorm
    pair: NormalizerPair | None
    form: str


@dataclass
class Decision:
    """The decisions for one layer.

    Attributes:
        fold: See :class:`ssn_prune.pruning.plan.LayerPlan`.
        refusals: Why the rules that were tried do not apply, in the order of the trials.
        closed: Whether no further rule is tried.
        absorbs: See :class:`ssn_prune.pruning.plan.LayerPlan`.
        exposed: The same.
    """

    fold: Fold | None = None
    refusals: list[Refusal] = field(default_factory=list)
    closed: bool = False
    absorbs: list[AffineStep] = field(default_factory=list)
    exposed: bool = True

    @property
    def refusal(self) -> Refusal | None:
        """The first refusal's code with the reasons of all; None if the layer folds."""
        if self.fold is not None or not self.refusals:
            return None
        reasons = "; ".join(refusal.reason for refusal in self.refusals)
        return Refusal(self.refusals[0].code, reasons)


class FoldContext:
    """The records of a network, and the decisions so far.

    Args:
        network: The network; not changed.
        captured: Its capture.
        candidates: All layers by name.

    Attributes:
        decisions: By layer. A check that returns a fold records here what else it changes.
        ranges: The value ranges of all kernels after the folds so far.
        without_affines: Layers of which every following affine module is removed.
    """

    def __init__(
        self, network: nn.Module, captured: Capture, candidates: Mapping[str, Candidate]
    ) -> None:
        self.network, self.captured, self.candidates = network, captured, candidates
        self.decisions = {name: Decision() for name in candidates}
        self.ranges = KernelRanges(network)
        self.without_affines: set[str] = set()

    def in_order(self) -> list[Candidate]:
        """The layers in the order of their first calls."""

        def first_call(layer: Candidate) -> int:
            calls = self.calls(layer.name)
            return calls[0].order if calls else -1

        return sorted(self.candidates.values(), key=first_call)

    def calls(self, name: str) -> tuple[LayerCall, ...]:
        """The captured calls of a layer."""
        return self.captured.calls.get(name, ())

    def only_consumer(self, name: str) -> str | None:
        """The layer that is the only user of every output of a layer, and has no other inputs."""
        calls = self.calls(name)
        if any(call.consumers != 1 for call in calls):
            return None
        following = [
            other
            for other, found in self.captured.calls.items()
            if len(found) == len(calls) and all(call.preceding_layer == name for call in found)
        ]
        return following[0] if len(following) == 1 else None

    def only_producer(self, name: str) -> str | None:
        """The layer that makes every input of a layer, and whose outputs have no other user."""
        calls = self.calls(name)
        preceding = calls[0].preceding_layer if calls else None
        alone = preceding is not None and self.only_consumer(preceding) == name
        return preceding if alone else None

    def absorbing_layer(self, name: str) -> str:
        """The layer that absorbed a layer, or the layer itself."""
        fold = self.decisions[name].fold
        return fold.target if fold is not None and fold.kernel is None else name

    def absorb(self, name: str, steps: list[AffineStep]) -> None:
        """Record what becomes part of a layer, or of the layer that absorbed it."""
        self.decisions[self.absorbing_layer(name)].absorbs += steps
        self.decisions[name].exposed = False

    def folded_away(self, name: str) -> bool:
        """Whether nothing is left of a layer because all of it moved into a convolution."""
        fold = self.decisions[name].fold
        return fold is not None and fold.kernel is not None and fold.leaves == IDENTITY
