"""Conditions in torch's private text are evaluated without running code."""

from __future__ import annotations

import pytest
import torch

from ssn_prune.pruning.capture import guard_text

X = torch.zeros(2, 3, 64, 64)


@pytest.mark.parametrize(
    ("text", "holds"),
    [
        ("L['x'].size()[2] > 40", True),
        ("(L['x'].size()[2] % 32) == 0", True),
        ("-1 + L['x'].size()[2]//2 >= 32", False),
        ("Max(1, L['x'].size()[3]) != 64", False),
        ("torch.sym_max(L['x'].size()[0], 7) == 7", True),
        ("math.ceil(L['x'].size()[2] / 3) == 22", True),
        ("FloorDiv(L['x'].size()[2], 3) == Mod(L['x'].size()[2], 43)", True),
        ("L['x'].size()[2] == 64 and not L['x'].size()[3] < 2", True),
    ],
)
def test_conditions_are_evaluated_without_running_code(text: str, holds: bool) -> None:
    assert guard_text.holds(text, {"x": X}) is holds


@pytest.mark.parametrize(
    "text",
    [
        "__import__('os').getcwd() == 1",
        "os.getcwd() == 1",
        "L['x'].sum() == 0",
        "[1][0] == 1",
        "L['x'].size()[2] in (1, 64)",
    ],
)
def test_a_condition_of_an_unknown_form_is_not_ignored(text: str) -> None:
    with pytest.raises(ValueError, match="unknown form"):
        guard_text.holds(text, {"x": X})


@pytest.mark.parametrize(
    ("text", "kept"),
    [
        ("L['x'].size()[2] > 40", True),
        ("L['x'].size()[2] == 1", True),
        ("L['x'].size()[2] != 1", False),
        ("2 <= L['x'].size()[0]", True),
        ("L['x'].size()[2] <= L['x'].size()[3]", False),
        ("L['x'].size()[2] == L['x'].size()[3]", True),
        ("not (L['x'].size()[2] > 40)", True),
    ],
)
def test_questions_about_memory_layout_are_left_out(text: str, kept: bool) -> None:
    assert guard_text.distinguishes_paths(text) is kept


def test_a_condition_is_shown_with_shapes() -> None:
    assert guard_text.readable("L['x'].size()[2] % 32 == 0") == "x.shape[2] % 32 == 0"
