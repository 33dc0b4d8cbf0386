"""The fold of docs/extending.md: its file and its row are all that it takes."""

from __future__ import annotations

import copy
import re
import sys
import types
from pathlib import Path
from typing import Any

import pytest
import torch
from fold_checks import X, assert_close, conv, folds, pruned
from networks import IN, LN, relative_error, trained_layer
from torch import nn

import ssn_prune
from ssn_prune.normalizer import NormalizerPair
from ssn_prune.pruning import planner
from ssn_prune.pruning.folds import table

PAGE = Path(ssn_prune.__file__).parents[1] / "docs" / "extending.md"
NAME = "ssn_prune.pruning.folds.common_bias"


def blocks() -> list[str]:
    """The Python code of the section, block by block."""
    section = PAGE.read_text(encoding="utf-8").partition("\n## Another fold\n")[2]
    section = section.partition("\n## ")[0]
    return re.findall(r"^```python\n(.*?)^```$", section, flags=re.MULTILINE | re.DOTALL)


@pytest.fixture
def documented_tests(monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """The functions of the third block, while the rule is in the table."""
    file, row, tests = blocks()
    module = types.ModuleType(NAME)
    monkeypatch.setitem(sys.modules, NAME, module)
    exec(compile(file, NAME, "exec"), vars(module))
    rule = eval(row, {**vars(table), "common_bias": module})
    rules = (*table.FOLD_RULES, rule)
    for user in (table, planner):
        monkeypatch.setattr(user, "FOLD_RULES", rules)
    names = {"IN": IN, "LN": LN, "NormalizerPair": NormalizerPair, "X": X, "nn": nn}
    names |= {"assert_close": assert_close, "conv": conv, "copy": copy, "folds": folds}
    names |= {"pruned": pruned, "relative_error": relative_error, "torch": torch}
    names |= {"trained_layer": trained_layer}
    exec(compile(tests, str(PAGE), "exec"), names)
    return names


@pytest.mark.parametrize(
    "name",
    [
        "test_the_bias_has_no_mean",
        "test_a_convolution_without_bias_is_refused",
        "test_another_mean_of_the_bias_is_caught",
    ],
)
def test_the_documented_fold(name: str, documented_tests: dict[str, Any]) -> None:
    documented_tests[name]()


def test_every_documented_test_runs() -> None:
    found = re.findall(r"^def (test_\w+)", blocks()[2], flags=re.MULTILINE)
    mark = next(m for m in test_the_documented_fold.pytestmark if m.name == "parametrize")
    assert sorted(found) == sorted(mark.args[1])


def test_without_its_row_nothing_folds() -> None:
    network = nn.Sequential(conv(), trained_layer(4, NormalizerPair(LN, LN)))
    assert folds(pruned(network)) == [None]
