"""From single harms to a Pareto front of measured candidates."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace

from torch import nn

from ssn_prune.normalizer import NormalizerPair
from ssn_prune.progress import Progress
from ssn_prune.searching.batches import Batches
from ssn_prune.searching.candidates import Alternative, worth_choosing
from ssn_prune.searching.evaluation import Evaluator, Harm, Outcome, Step
from ssn_prune.searching.front import pareto
from ssn_prune.searching.joint import JointResult, joint_result
from ssn_prune.searching.journal import Journal
from ssn_prune.searching.processes import divided, is_first
from ssn_prune.searching.program import cheapest_harm
from ssn_prune.searching.results import SearchOptions, SingleHarm
from ssn_prune.searching.selections import Changes, Repairs, changed_network, on_cpu, pair_of
from ssn_prune.searching.surrogate import Surrogate
from ssn_prune.searching.time_left import TimeLeft

_ORIGINAL: Changes = ()
_STEPS_TO_BOUND = 4
"""Candidates per round between the points on both sides of the allowed drop."""
_OFFSETS = 3
"""Rounds until the savings to solve for repeat; only then a front without new points is final."""


@dataclass
class Explorer:
    """Measures candidates, each only once.

    Attributes:
        evaluator: Runs the candidates.
        search: The images that they are measured on.
        original: The outcome of the original on these images.
        journal: The measurements so far.
        options: How to search.
        progress: Called with the name of each step.
    """

    evaluator: Evaluator
    search: Batches
    original: Outcome
    journal: Journal
    options: SearchOptions
    progress: Progress
    _repairs: dict[Changes, Repairs] = field(default_factory=dict)

    def with_harms(self, alternatives: Sequence[Alternative]) -> list[Alternative]:
        """Measure each alternative alone, on the calibration images."""
        changes: list[Changes] = [((one.layer, one.pair),) for one in alternatives]
        missing = [change for change in changes if change not in self.journal.singles]
        if missing:
            step = f"the harm of {len(missing)} single changes"
            left = TimeLeft(self.progress, step, self.evaluator.batches)

            def harms(own: Sequence[Changes]) -> list[Harm]:
                return [harm for harm, _ in self.evaluator.measure(own, left)]

            found = dict(zip(missing, divided(missing, harms), strict=True))
            self._note(singles=found)
        known = self.journal.singles
        return [
            replace(one, harm=known[change].mean, error=known[change].error)
            for one, change in zip(alternatives, changes, strict=True)
        ]

    def measure(self, candidates: Sequence[Changes]) -> None:
        """Measure the candidates that are not known yet, all in one pass."""
        missing = [c for c in dict.fromkeys(candidates) if c not in self.journal.joint]
        if not missing:
            return
        batches = self.evaluator.batches + len(self.search)
        left = TimeLeft(self.progress, f"{len(missing)} candidates", batches)

        def results(own: Sequence[Changes]) -> list[tuple[JointResult, Repairs]]:
            repairs = self._measured_repairs(own, left)
            outcomes = self.evaluator.outcomes(
                self.search, list(zip(own, repairs, strict=True)), left
            )
            found = [joint_result(outcome, self.original) for outcome in outcomes]
            return list(zip(found, map(on_cpu, repairs), strict=True))

        found = dict(zip(missing, divided(missing, results), strict=True))
        self._repairs |= {changes: repairs for changes, (_, repairs) in found.items()}
        self._note(joint={changes: result for changes, (result, _) in found.items()})

    def learn_repairs(self, candidates: Sequence[Changes]) -> None:
        """Measure repairs that a resumed search lacks; :meth:`network` needs them."""
        missing = [c for c in candidates if c and c not in self._repairs]
        if missing:
            left = TimeLeft(self.progress, "repairs", self.evaluator.batches)

            def repairs(own: Sequence[Changes]) -> list[Repairs]:
                return list(map(on_cpu, self._measured_repairs(own, left)))

            self._repairs |= dict(zip(missing, divided(missing, repairs), strict=True))

    def _measured_repairs(self, candidates: Sequence[Changes], step: Step) -> list[Repairs]:
        return [found for _, found in self.evaluator.measure(candidates, step)]

    def network(self, model: nn.Module, changes: Changes) -> nn.Module:
        """A copy of the original with changes and their repairs, which must have been measured."""
        return changed_network(model, changes, self._repairs.get(changes, {}))

    def singles(self, alternatives: Sequence[Alternative]) -> tuple[SingleHarm, ...]:
        """The measured alternatives, for the report."""
        layers = list(self.evaluator.layers.originals)
        pairs = {name: pair_of(layer) for name, layer in self.evaluator.layers.originals.items()}
        return tuple(
            SingleHarm(
                layer=one.layer,
                depth=layers.index(one.layer),
                before=pairs[one.layer],
                after=one.pair,
                saved_ms=one.saved,
                harm=one.harm,
                error=one.error,
            )
            for one in alternatives
        )

    def _note(
        self,
        singles: dict[Changes, Harm] | None = None,
        joint: dict[Changes, JointResult] | None = None,
    ) -> None:
        journal = self.journal if is_first() else replace(self.journal, path=None)
        journal.add_singles(singles or {})
        journal.add_joint(joint or {})
        self.journal.singles, self.journal.joint = journal.singles, journal.joint


def explore(explorer: Explorer, alternatives: Sequence[Alternative]) -> list[Changes]:
    """Measure candidates until the front stops moving.

    Each round solves the integer program for several savings with the present surrogate, measures
    the proposed candidates, and fits the surrogate to all measurements.

    Args:
        explorer: Measures the candidates.
        alternatives: The alternatives with their single harms.

    Returns:
        The front, from the original to the fastest candidate.
    """
    options, results = explorer.options, explorer.journal.joint
    worth = worth_choosing(alternatives)
    singles = surrogate = Surrogate.of_singles(worth)
    saved_by = {(one.layer, one.pair): one.saved for one in worth}

    def saved(changes: Changes) -> float:
        return sum(saved_by[change] for change in changes)

    most = saved(_fastest(worth))
    explorer.measure([_ORIGINAL, _fastest(worth)])
    front: list[Changes] = []
    for round_number in range(options.rounds):
        goals = _goals(explorer, front, saved, most, round_number)
        proposed = [cheapest_harm(worth, surrogate, goal) for goal in goals]
        known = set(explorer.journal.joint)
        explorer.measure([changes for changes in proposed if changes is not None])
        results = explorer.journal.joint
        measured = {c: r.harm for c, r in results.items() if all(x in saved_by for x in c)}
        surrogate = singles.fitted(measured)
        before, front = front, pareto({c: saved(c) for c in measured}, measured)
        settled = front == before and len(front) >= options.points
        if round_number + 1 >= _OFFSETS and (settled or not set(results) - known):
            break
    return front


def _goals(
    explorer: Explorer,
    front: list[Changes],
    saved: Callable[[Changes], float],
    most: float,
    round_number: int,
) -> list[float]:
    """Savings to solve for, in milliseconds: evenly spaced, and some around the allowed drop."""
    count = explorer.options.points
    offset = (round_number % _OFFSETS) / _OFFSETS  # other savings in each round
    goals = [most * (place + offset) / count for place in range(1, count + 1)]
    results, allowed = explorer.journal.joint, explorer.options.allowed_drop
    if allowed is not None and front:
        fit = [c for c in front if results[c].drop <= allowed]
        low = max((saved(c) for c in fit), default=0.0)
        high = min((saved(c) for c in front if saved(c) > low), default=most)
        steps = _STEPS_TO_BOUND + 1
        goals += [low + (high - low) * place / steps for place in range(1, steps)]
    return [goal for goal in goals if 0 < goal <= most]


def _fastest(alternatives: Sequence[Alternative]) -> Changes:
    best: dict[str, Alternative] = {}
    for one in alternatives:
        if one.layer not in best or one.saved > best[one.layer].saved:
            best[one.layer] = one
    return tuple((layer, one.pair) for layer, one in best.items())


def all_bn(alternatives: Sequence[Alternative], free: NormalizerPair) -> Changes | None:
    """BN/BN in every layer that can save time; None if such a layer does not offer it."""
    layers = list(dict.fromkeys(one.layer for one in alternatives))
    offering = {one.layer for one in alternatives if one.pair == free}
    if set(layers) != offering:
        return None
    return tuple((layer, free) for layer in layers)
