"""Training steps of the reference implementation's own layers, by the kernels."""

from __future__ import annotations

from pathlib import Path

import pytest
from golden_runs import compare, label, load_runs

RUNS = load_runs(Path(__file__).parents[1] / "data" / "official_layers.pt")
TRAINING = [run for run in RUNS if run["training"]]


@pytest.mark.parametrize("run", TRAINING, ids=label)
def test_run_is_reproduced(run):
    assert not [result for result in compare(run) if not result.error <= result.bound]


def test_permuted_gates_would_be_noticed():
    wrong = compare(TRAINING[0], gate_order=(1, 2, 0))
    assert [result for result in wrong if not result.error <= result.bound]
