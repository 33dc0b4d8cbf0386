"""All folds, in the order in which they are tried.

Each rule is tried on every layer, in the order of the data flow, before the next rule is tried.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from ssn_prune.nn.switchable import SwitchableNorm
from ssn_prune.normalizer import Normalizer, NormalizerPair
from ssn_prune.pruning.folds import (
    absorbed,
    centring,
    into_following,
    running_mean,
    scale,
    scale_and_shift,
)
from ssn_prune.pruning.folds.context import Candidate, FoldContext
from ssn_prune.pruning.folds.edited_kernel import EditedKernel
from ssn_prune.pruning.plan import Fold, LayerPlan, Refusal
from ssn_prune.pruning.static_norm import Affine

Check = Callable[[FoldContext, Candidate], Fold | Refusal | None]
"""Decides for one layer: the fold, or why it is refused, or None where the rule has nothing to say.
With a fold, it records in the context what else changes."""

Apply = Callable[[LayerPlan, SwitchableNorm, Affine, EditedKernel], None]
"""Edits the kernel in place, given the layer's plan, the switchable layer, and the layer's weight
and bias including what it absorbs. It does not check again."""


@dataclass(frozen=True)
class FoldRule:
    """One row of the table.

    Attributes:
        code: Its name in the plan and in the report.
        title: What moves, for people.
        pairs: The selections that the rule is for.
        check: Decides whether the rule applies.
        apply: Edits the kernel; None if there is no kernel to edit.
    """

    code: str
    title: str
    pairs: frozenset[NormalizerPair]
    check: Check
    apply: Apply | None


def _pairs(*names: str) -> frozenset[NormalizerPair]:
    return frozenset(NormalizerPair(*(Normalizer[n] for n in name.split("/"))) for name in names)


FOLD_RULES: tuple[FoldRule, ...] = (
    FoldRule(
        scale_and_shift.CODE,
        "scale and shift",
        _pairs("BN/BN"),
        scale_and_shift.check,
        scale_and_shift.apply,
    ),
    FoldRule(
        absorbed.CODE,
        "scale and shift, into the preceding norm",
        _pairs("BN/BN"),
        absorbed.check,
        None,
    ),
    FoldRule(scale.CODE, "scale", _pairs("IN/BN", "LN/BN"), scale.check, scale.apply),
    FoldRule(
        running_mean.CODE,
        "running mean",
        _pairs("BN/IN", "BN/LN"),
        running_mean.check,
        running_mean.apply,
    ),
    FoldRule(centring.CODE, "centring", _pairs("IN/IN"), centring.check, centring.apply),
    FoldRule(
        into_following.CODE,
        "scale and shift, into the following convolution",
        _pairs("BN/BN"),
        into_following.check,
        into_following.apply,
    ),
)


def rule_of(code: str) -> FoldRule:
    """The rule with a code."""
    return next(rule for rule in FOLD_RULES if rule.code == code)
