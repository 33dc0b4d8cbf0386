"""Deciding the folds of all layers, in the order of the data flow.

Each layer is asked, in this order: can it fold into the convolution in front (seeing through layers
that have folded away), can the layer in front absorb it, can it fold into what is behind? The
answers depend on each other, so this is one pass with a memory; the result is plain data.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm

from ssn_prune.nn.switchable import SwitchableNorm
from ssn_prune.normalizer import Normalizer, NormalizerPair
from ssn_prune.pruning.capture.fx_utils import NETWORK_OUTPUT
from ssn_prune.pruning.capture.partial import UNCAPTURED
from ssn_prune.pruning.capture.records import AffineCall, Capture, ConvCall, LayerCall
from ssn_prune.pruning.folds.affine import Affine, effective_affine
from ssn_prune.pruning.folds.kernel import Kernel, kernel_of, require_bias
from ssn_prune.pruning.folds.kernel_range import KernelNumbers
from ssn_prune.pruning.forms import FoldKind, PairForm
from ssn_prune.pruning.plan import AffineStep, Fold, Refusal, RefusalCode
from ssn_prune.surgery.copying import has_hooks

_STATIC = NormalizerPair(Normalizer.BN, Normalizer.BN)


@dataclass(frozen=True)
class Candidate:
    """A layer and what its selection allows.

    Attributes:
        name: Its first path.
        module: The layer.
        pair: What it selected; None for a weighted form.
        entry: The form of that pair, with what may fold.
    """

    name: str
    module: SwitchableNorm
    pair: NormalizerPair | None
    entry: PairForm


@dataclass
class Decision:
    """What was decided for one layer: the fields of the same names of :class:`LayerPlan`."""

    fold: Fold | None = None
    refusal: Refusal | None = None
    absorbs: list[AffineStep] = field(default_factory=list)
    exposed: bool = True


def decide_folds(
    model: nn.Module, captured: Capture, candidates: Mapping[str, Candidate]
) -> dict[str, Decision]:
    """Decide for every layer what folds and where to, or why nothing does.

    Args:
        model: The network; not changed.
        captured: Its capture.
        candidates: All layers by name.
    """
    decider = _Decider(model, captured, candidates)
    # What a layer absorbs changes its scale, so that is settled before its own fold is tried.
    for name in decider.order:
        decider.absorb(name)
    for name in decider.order:
        decider.decide(name)
    return decider.decisions


class _Decider:
    def __init__(
        self, model: nn.Module, captured: Capture, candidates: Mapping[str, Candidate]
    ) -> None:
        self.model, self.captured, self.candidates = model, captured, candidates
        self.decisions = {name: Decision() for name in candidates}
        self.numbers = KernelNumbers(model)
        self.cleared: set[str] = set()  # every module in their affines is removed
        self.order = sorted(candidates, key=self._first_call)

    def _first_call(self, name: str) -> int:
        calls = self.captured.calls.get(name, ())
        return calls[0].order if calls else -1

    def absorb(self, name: str) -> None:
        """Take modules behind a layer, and static layers behind one that is not static itself."""
        candidate, calls = self.candidates[name], self._calls(name)
        if not calls or has_hooks(candidate.module):
            return
        affines = calls[0].affines
        if any(call.affines != affines for call in calls):
            return
        if not all(self._removable(affine, len(calls)) for affine in affines):
            return
        self.cleared.add(name)
        steps = [AffineStep(affine.module, affine.operator) for affine in affines]
        root = self._root(name)
        if steps:
            self._append(name, steps)
        behind = self._only_layer_behind(name, calls)
        if behind is None or has_hooks(self.candidates[behind].module):
            return
        static = self.candidates[behind].pair == _STATIC
        if static and self.candidates[root].pair != _STATIC:
            self._absorb_layer(name, behind)

    def _root(self, name: str) -> str:
        """The layer that a layer was absorbed by, or itself."""
        fold = self.decisions[name].fold
        absorbed = fold is not None and fold.kind is FoldKind.ABSORBED
        return fold.target if fold is not None and absorbed else name

    def _append(self, name: str, steps: list[AffineStep]) -> None:
        """Note what becomes part of a layer, or of the one that absorbed it."""
        self.decisions[self._root(name)].absorbs += steps
        self.decisions[name].exposed = False

    def _absorb_layer(self, front: str, behind: str) -> None:
        decision = self.decisions[behind]
        self._append(front, [AffineStep(behind, "batch_norm"), *decision.absorbs])
        decision.fold = Fold(FoldKind.ABSORBED, self._root(front))
        decision.absorbs = []

    def _removable(self, affine: AffineCall, calls: int) -> bool:
        module = self.model.get_submodule(affine.module)
        owners = self.captured.owners.get(affine.tensor, ())
        alone = len(owners) == 1 and self.captured.uses.get(affine.tensor) == calls
        return alone and not has_hooks(module) and _is_wide(module)

    def _only_layer_behind(self, name: str, calls: tuple[LayerCall, ...]) -> str | None:
        """The layer that alone uses every output of a layer, and gets nothing else."""
        if any(call.consumers != 1 for call in calls):
            return None
        behind = [
            other
            for other, found in self.captured.calls.items()
            if len(found) == len(calls) and all(call.behind == name for call in found)
        ]
        return behind[0] if len(behind) == 1 else None

    def decide(self, name: str) -> None:
        """Decide about a layer; those in front of it are decided already."""
        candidate, decision = self.candidates[name], self.decisions[name]
        if decision.fold is not None:
            return  # absorbed
        outcome = self._backward(candidate)
        if isinstance(outcome, Refusal) and candidate.pair == _STATIC:
            outcome = self._elsewhere(candidate, outcome)
        if isinstance(outcome, Refusal):
            decision.refusal = outcome
        else:
            decision.fold = outcome

    def _elsewhere(self, candidate: Candidate, refusal: Refusal) -> Fold | Refusal:
        name = candidate.name
        calls = self.captured.calls.get(name, ())
        if not calls or refusal.code in (RefusalCode.HOOKS, RefusalCode.CAPTURE_FAILED):
            return refusal
        front = calls[0].behind
        if front is not None and self._only_layer_behind(front, self._calls(front)) == name:
            hooked = has_hooks(self.candidates[front].module)
            if not hooked:
                self._absorb_layer(front, name)
                return Fold(FoldKind.ABSORBED, self._root(front))
        outcome = self._forward(candidate, calls)
        if isinstance(outcome, str):
            both = "; ".join(filter(None, (refusal.reason, outcome)))
            return Refusal(refusal.code, both)
        self.decisions[name].exposed = False
        return outcome

    def _calls(self, name: str) -> tuple[LayerCall, ...]:
        return self.captured.calls.get(name, ())

    def _backward(self, candidate: Candidate) -> Fold | Refusal:
        kind, name = candidate.entry.fold, candidate.name
        if kind is None or candidate.pair is None:
            text = f"no part of {candidate.pair} can move into what is in front"
            return Refusal(RefusalCode.NOTHING_FOLDS, text)
        calls = self._calls(name)
        if not calls or any(call.producer == UNCAPTURED for call in calls):
            if self.captured.error is None:
                text = "the captured graph shows no call of this layer"
                return Refusal(RefusalCode.NOT_CALLED, text)
            text = f"torch.export could not capture the code around it ({self.captured.error})"
            return Refusal(RefusalCode.CAPTURE_FAILED, text)
        if has_hooks(candidate.module):
            return Refusal(RefusalCode.HOOKS, f"{name} has hooks")
        convs, through = self._convs_in_front(name, calls)
        if isinstance(convs, Refusal):
            return convs
        kernel = kernel_of(self.model, self.captured, convs)
        if isinstance(kernel, Refusal):
            return kernel
        refusal = require_bias(kernel, kind, convs[0].what)
        if refusal is not None:
            return refusal
        module, pair, affine = candidate.module, candidate.pair, self._affine(candidate)
        problem = self.numbers.fold_back(kernel, module, pair, kind, affine)
        if problem is not None:
            return Refusal(RefusalCode.SCALE_RANGE, problem)
        if through is not None:
            self.decisions[through].exposed = False
        return _fold(kind, kernel)

    def _convs_in_front(
        self, name: str, calls: tuple[LayerCall, ...]
    ) -> tuple[list[ConvCall] | Refusal, str | None]:
        """The convolutions in front, and the layer that was there and has folded away."""
        front = calls[0].behind
        if front is not None:
            fold = self.decisions[front].fold
            away = fold is not None and fold.kind is FoldKind.ALL
            if away and self._only_layer_behind(front, self._calls(front)) == name:
                convs, _ = self._convs_in_front(front, self._calls(front))
                return convs, front
        found: list[ConvCall] = []
        for call in calls:
            if call.conv is None:
                producer = call.behind or call.producer
                text = f"its input comes from {producer}"
                return Refusal(RefusalCode.NO_CONV, text), None
            if call.conv.consumers != 1:
                text = f"the output of the {call.conv.what} has {call.conv.consumers} consumers"
                return Refusal(RefusalCode.CONSUMERS, text), None
            found.append(call.conv)
        return found, None

    def _affine(self, candidate: Candidate) -> Affine:
        steps = self.decisions[candidate.name].absorbs
        return effective_affine(candidate.module, steps, self.model)

    def _forward(self, candidate: Candidate, calls: tuple[LayerCall, ...]) -> Fold | str:
        """Fold a static layer into the convolution behind it, or say why that is not exact.

        The reason is empty where nothing is behind it.
        """
        for call in calls:
            if call.affines and candidate.name not in self.cleared:
                return f"behind it is {call.affines[0].module}, which stays"
            if call.overwritten:
                return "its input is overwritten later, so its output has to be a copy"
            if call.into is None:
                end = call.consumer == NETWORK_OUTPUT
                return "" if end else f"behind it is {call.consumer}"
            if call.into.transposed:
                return "the convolution behind it is transposed: its borders get fewer terms"
            if call.into.zero_padded:
                return "the convolution behind it pads with zeros, which a shift would change"
        convs = [call.into for call in calls if call.into is not None]
        kernel = kernel_of(self.model, self.captured, convs)
        refusal = kernel if isinstance(kernel, Refusal) else None
        if not isinstance(kernel, Refusal):
            refusal = require_bias(kernel, FoldKind.FORWARD, convs[0].what)
        if refusal is not None or isinstance(kernel, Refusal):
            assert refusal is not None
            return f"behind it: {refusal.reason}"
        problem = self.numbers.fold_forward(kernel, candidate.module, self._affine(candidate))
        return _fold(FoldKind.FORWARD, kernel) if problem is None else problem


def _fold(kind: FoldKind, kernel: Kernel) -> Fold:
    return Fold(
        kind, kernel.weight.module, kernel.weight, kernel.bias, kernel.transposed, kernel.groups
    )


def _is_wide(module: nn.Module) -> bool:
    """Whether the numbers of a module can be computed with: floating, and statistics kept."""
    if isinstance(module, _BatchNorm):
        return module.running_mean is not None and module.running_var is not None
    return all(tensor.is_floating_point() for tensor in module.parameters())
