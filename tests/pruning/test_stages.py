"""The part of a network that a layer belongs to."""

from __future__ import annotations

import pytest
from report_runs import MOBILENET, RESNET18

from ssn_prune.pruning.stages import stages_of


def test_the_first_component_is_the_stage() -> None:
    stages = stages_of(RESNET18)
    assert list(dict.fromkeys(stages)) == ["sn1", "layer1", "layer2", "layer3", "layer4"]


def test_a_part_that_holds_nearly_everything_is_divided() -> None:
    assert list(dict.fromkeys(stages_of(MOBILENET))) == [f"features.{i}" for i in range(19)]
    nested = [f"model.body.block{i}.norm{j}" for i in range(3) for j in range(2)]
    assert set(stages_of(["stem", *nested])) == {
        "stem",
        *(f"model.body.block{i}" for i in range(3)),
    }


@pytest.mark.parametrize("names", [[], ["a"], ["a.b.c"], ["a.b", "a.c"], ["a", "b"]])
def test_small_networks(names: list[str]) -> None:
    stages = stages_of(names)
    assert len(stages) == len(names)
    assert all(name.startswith(stage) for name, stage in zip(names, stages, strict=True))
