"""The table of folds: what a row promises, and that each row matters."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import pytest
import torch
from fold_checks import BN_BN, X, conv, folds, pruned
from networks import BN, IN, LN, trained_layer
from torch import nn

import ssn_prune
from ssn_prune import prune
from ssn_prune.normalizer import NormalizerPair
from ssn_prune.pruning import rewrite as rewriting
from ssn_prune.pruning.folds.table import FOLD_RULES, FoldRule, rule_of
from ssn_prune.pruning.forms.table import FORMS
from ssn_prune.pruning.plan import RefusalCode
from ssn_prune.verification.algebra import check_algebra


def near_zero() -> nn.Module:
    layer = trained_layer(3, BN_BN)
    layer.running_mean.clamp_(-1, 1)
    layer.running_var.clamp_(0.5, None)
    return layer


EXAMPLES = {
    "scale_and_shift": lambda: nn.Sequential(conv(), trained_layer(4, BN_BN)),
    "scale": lambda: nn.Sequential(conv(), trained_layer(4, NormalizerPair(IN, BN))),
    "running_mean": lambda: nn.Sequential(conv(), trained_layer(4, NormalizerPair(BN, LN))),
    "centring": lambda: nn.Sequential(conv(), trained_layer(4, NormalizerPair(IN, IN))),
    "scale_and_shift_into_following": lambda: nn.Sequential(nn.ReLU(), near_zero(), conv()),
}


def test_codes_and_titles_are_unique_and_documented() -> None:
    codes = [rule.code for rule in FOLD_RULES]
    assert len(set(codes)) == len({rule.title for rule in FOLD_RULES}) == len(FOLD_RULES)
    assert all(rule_of(code).code == code for code in codes)
    text = (Path(ssn_prune.__file__).parents[1] / "docs" / "report.md").read_text(encoding="utf-8")
    assert all(f"`{code}`" in text for code in codes)


def test_every_rule_with_a_kernel_has_an_example_here() -> None:
    assert {rule.code for rule in FOLD_RULES if rule.apply is not None} == set(EXAMPLES)


@pytest.mark.parametrize("code", EXAMPLES)
def test_a_fold_says_what_it_leaves(code: str) -> None:
    result = pruned(EXAMPLES[code]())
    planned = next(layer for layer in result.plan.layers if layer.fold is not None)
    assert planned.fold is not None
    assert planned.fold.code == code
    assert planned.form == planned.fold.leaves
    assert planned.fold.leaves in FORMS
    module = result.model.get_submodule(planned.name)
    assert isinstance(module, FORMS[planned.form].classes[planned.dimension - 1])
    report = result.report.layers[0]
    assert (report.fold, report.fold_title) == (code, rule_of(code).title)


@pytest.mark.parametrize("code", [code for code in EXAMPLES if code != "centring"])
def test_a_fold_that_is_not_applied_is_caught(code: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Negative control; a centring constant changes nothing but the rounding."""
    result = pruned(EXAMPLES[code]())

    def without_application(asked: str) -> FoldRule:
        return dataclasses.replace(rule_of(asked), apply=lambda *_arguments: None)

    monkeypatch.setattr(rewriting, "rule_of", without_application)
    assert not check_algebra(result.original, result.plan, (X,)).passed


def test_a_layer_that_no_rule_is_for_says_so() -> None:
    network = nn.Sequential(conv(), trained_layer(4, NormalizerPair(LN, IN))).double().eval()
    (layer,) = prune(network, X).plan.layers
    assert layer.refusal is not None
    assert layer.refusal.code is RefusalCode.NOTHING_FOLDS
    assert "nothing is constant" in layer.refusal.reason


def test_the_reasons_of_all_rules_are_given_with_the_code_of_the_first() -> None:
    network = nn.Sequential(nn.MaxPool2d(2), trained_layer(3, BN_BN), nn.ReLU()).double().eval()
    (layer,) = prune(network, X).plan.layers
    assert layer.refusal is not None
    assert layer.refusal.code is RefusalCode.NO_CONV
    found = layer.refusal.reason.split("; ")
    assert found[0].startswith("its input comes from aten.max_pool2d")
    assert found[1] == "it is followed by aten.relu.default"


def test_the_first_rule_that_holds_is_taken() -> None:
    network = nn.Sequential(conv(), trained_layer(4, BN_BN), conv(4))
    network[1].running_mean.mul_(0.1)
    assert folds(pruned(network)) == [("scale_and_shift", "0")]
    assert torch.equal(network[2].weight, pruned(network).model[2].weight)


def test_no_pair_is_listed_in_two_rules_that_fold_into_the_preceding_convolution() -> None:
    preceding = ("scale_and_shift", "scale", "running_mean", "centring")
    pairs = [pair for code in preceding for pair in rule_of(code).pairs]
    assert len(pairs) == len(set(pairs)) == 6
    assert NormalizerPair(BN, BN) in pairs
