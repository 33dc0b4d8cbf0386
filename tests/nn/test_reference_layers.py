"""Our layers against recorded runs of the reference implementation's own layers
(tests/data/official_layers.pt)."""

from pathlib import Path

import pytest
from golden_runs import compare, golden_tensors, label, load_runs
from layer_formula import PAIRS

RUNS = load_runs(Path(__file__).parents[1] / "data" / "official_layers.pt")
SPARSE = [run for run in RUNS if run["kind"] == "SSN2d"]


def failures(run, **wrong):
    return [result for result in compare(run, **wrong) if not result.error <= result.bound]


@pytest.mark.parametrize("run", RUNS, ids=label)
def test_run_is_reproduced(run):
    assert not failures(run)


def test_every_recorded_tensor_is_compared():
    for run in RUNS:
        assert {result.name for result in compare(run)} == set(golden_tensors(run))


def test_extract_covers_every_pair_radius_and_mode():
    found = {(run["mean"], run["var"], run["radius"], run["training"]) for run in RUNS}
    for training in (False, True):
        assert {(*pair, 1.0, training) for pair in PAIRS} <= found
        assert {("soft", "soft", radius, training) for radius in (0.0, 0.1, 0.3)} <= found
        assert ("softmax", "softmax", None, training) in found


@pytest.mark.parametrize("run", SPARSE, ids=label)
def test_comparison_fails_for_permuted_gates(run):
    assert failures(run, gate_order=(1, 2, 0))


@pytest.mark.parametrize("training", [False, True])
def test_comparison_fails_for_uncorrected_variance(training):
    affected = [run for run in RUNS if run["training"] == training and run["var"] != "BN"]
    assert len(affected) >= 8
    for run in affected:
        assert any(result.name == "y" for result in failures(run, correction=0)), label(run)
