"""Two processes against one with all the samples, in float64."""

import pickle
from fractions import Fraction

import distributed_cases as cases
import pytest
import torch
import torch.distributed as dist
from distributed_worker import run_two_processes
from helpers import tiny_network
from layer_formula import total_variance
from torch import nn

from ssn_prune.errors import ArgumentError, NoSwitchableLayerError
from ssn_prune.nn.ssn import SSN2d
from ssn_prune.training.distributed import (
    average_running_statistics,
    desynchronize,
    synchronize,
)

pytestmark = pytest.mark.skipif(
    not (dist.is_available() and dist.is_gloo_available()), reason="this torch has no gloo"
)
EXACT = {"rtol": 1e-10, "atol": 1e-10}
RANKS = (0, 1)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("processes")


@pytest.fixture(scope="module")
def results(folder):
    """What each of the two processes found."""
    return run_two_processes(folder)


def joined(parts):
    """What one process with all rows finds, given what each of two found."""
    together = {}
    for name in parts[0]:
        values = [part[name] for part in parts]
        if name in ("output", "input"):
            together[name] = torch.cat(values)
        elif name.startswith("running"):
            assert torch.equal(*values), name
            together[name] = values[0]
        else:
            together[name] = values[0] + values[1]
    return together


@pytest.mark.parametrize("case", cases.CASES, ids=str)
def test_shared_statistics_equal_one_process_with_all_samples(case, results):
    found = joined([result["cases"][str(case)] for result in results])
    expected = cases.run_case(case, cases.ALL)
    assert found.keys() == expected.keys()
    assert {"output", "input", "weight", "mean_weight", "running_var"} <= found.keys()
    for name, value in expected.items():
        torch.testing.assert_close(found[name], value, **EXACT, msg=lambda m, n=name: f"{n}: {m}")
    if case.pair is None:
        assert all((gate > 0.05).all() for gate in cases.make_layer(case).gates())
        assert expected["mean_weight"].abs().min() > 1e-3


@pytest.mark.parametrize("case", cases.CASES, ids=str)
def test_statistics_that_are_not_synchronized_are_those_of_each_process(case, results):
    joint = cases.run_case(case, cases.ALL)
    for rank in RANKS:
        rows, found = cases.UNEQUAL[rank], results[rank]["local"][str(case)]
        alone = cases.run_case(case, rows)
        assert all(torch.equal(found[name], alone[name]) for name in alone)
        differs = (found["output"] - joint["output"][rows]).abs().max() > 1e-3
        assert differs == (case.pair is None or "BN" in case.pair)
        assert (found["running_var"] - joint["running_var"]).abs().max() > 1e-3


def test_maps_of_different_sizes_follow_the_formula(results):
    layer = cases.make_layer(cases.Case("SSN2d", (4,)))
    sizes = [cases.sizes_of_other_maps(rank) for rank in RANKS]
    inputs = [cases.draw(*size, seed=2 + 5 * rank) for rank, size in enumerate(sizes)]
    weights = [cases.draw(*size, seed=3 + 5 * rank) for rank, size in enumerate(sizes)]
    inputs = [x.requires_grad_() for x in inputs]
    mean_in = [x.mean((2, 3)) for x in inputs]
    var_in = [x.var((2, 3), correction=0) for x in inputs]
    batch = total_variance(torch.cat(mean_in), torch.cat(var_in), 0)
    p, q = layer.gates()
    loss = 0.0
    for x, mean, var, weight, result in zip(inputs, mean_in, var_in, weights, results, strict=True):
        own = (mean, var), total_variance(mean, var, 1), batch
        centre = sum(ratio * moments[0] for ratio, moments in zip(p, own, strict=True))
        spread = sum(ratio * moments[1] for ratio, moments in zip(q, own, strict=True))
        y = (x - centre[:, :, None, None]) / (spread + layer.eps).sqrt()[:, :, None, None]
        y = y * layer.weight.view(-1, 1, 1) + layer.bias.view(-1, 1, 1)
        torch.testing.assert_close(result["other_sizes"]["output"], y, **EXACT)
        loss = loss + (weight * y).sum()
    loss.backward()
    for x, result in zip(inputs, results, strict=True):
        torch.testing.assert_close(result["other_sizes"]["input"], x.grad, **EXACT)
    for name, parameter in layer.named_parameters():
        total = sum(result["other_sizes"][name] for result in results)
        torch.testing.assert_close(total, parameter.grad, **EXACT)


def test_large_means_do_not_cancel(results):
    counts, total = (3, 5), 8
    means = [[1e6, -1e6], [1e6 + 1, -1e6]]
    variances = [[1e-4, 2e-4], [1e-4, 4e-4]]
    for channel in range(2):
        m = [Fraction(row[channel]) for row in means]
        v = [Fraction(row[channel]) for row in variances]
        mean = sum(n * a for n, a in zip(counts, m, strict=True)) / total
        var = sum(n * (b + (a - mean) ** 2) for n, a, b in zip(counts, m, v, strict=True)) / total
        for result in results:
            moments, samples = result["large_means"]
            assert samples == total
            assert float(moments[0, channel]) == pytest.approx(float(mean), rel=1e-15)
            assert float(moments[1, channel]) == pytest.approx(float(var), rel=1e-9)


def same_state(found, expected):
    assert found.keys() == expected.keys()
    for name, value in expected.items():
        torch.testing.assert_close(found[name], value, **EXACT, msg=lambda m, n=name: f"{n}: {m}")


@pytest.fixture(scope="module")
def joint_training():
    """One process with all samples: with joint statistics, and with those of two workers."""
    trained = {}
    for name, groups in (("shared", 1), ("own", 2)):
        model = cases.residual_network()
        for layer in model.modules():
            if isinstance(layer, SSN2d):
                layer.batch_groups = groups
        gradients = cases.train(model, cases.ALL)
        trained[name] = {"gate_gradients": gradients, "state": cases.trained_state(model)}
    return trained


@pytest.mark.parametrize(("kind", "state"), [("shared", "state"), ("own", "averaged")])
def test_training_equals_one_process(kind, state, results, joint_training):
    expected = joint_training[kind]
    for result in results:
        same_state(result[kind][state], expected["state"])
        for found, gradient in zip(
            result[kind]["gate_gradients"], expected["gate_gradients"], strict=True
        ):
            torch.testing.assert_close(found, gradient, **EXACT)
    different = joint_training["own" if kind == "shared" else "shared"]["state"]
    assert (different["fc.weight"] - expected["state"]["fc.weight"]).abs().max() > 1e-4


@pytest.mark.parametrize("kind", ["shared", "own"])
def test_gates_freeze_alike_in_all_processes(kind, results):
    first, second = (result[kind] for result in results)
    for name, value in first["state"].items():
        own = kind == "own" and "running" in name
        assert torch.equal(value, second["state"][name]) != own, name
        if name.endswith("_fixed"):
            assert value.item() == 1
    assert sorted(set(first["state"]["gates"].flatten().tolist())) == [0.0, 1.0]
    for step, gradient in enumerate(first["gate_gradients"]):
        assert torch.equal(gradient, second["gate_gradients"][step])
        assert bool(gradient.any()) == (step < cases.FROZEN_FROM)


def test_both_running_statistics_are_plain_averages(results):
    for result in results:
        state = result["averages"]
        for prefix, factor, dtype in (("0.", 1.0, torch.float32), ("2.", 10.0, torch.float64)):
            assert state[f"{prefix}running_mean"].dtype == dtype
            assert (state[f"{prefix}running_mean"] == 1.5 * factor).all()
            assert (state[f"{prefix}running_var"] == 4.0 * factor).all()
            assert state[f"{prefix}num_batches_tracked"] == 7


@pytest.mark.parametrize("name", ["copy_model", "deepcopy", "pickle"])
def test_copies_share_their_statistics_too(name, results):
    for result in results:
        copies = result["copies"]
        assert torch.equal(copies[name], copies["original"])
        assert (copies["original"] - copies["alone"]).abs().max() > 1e-3
        assert torch.equal(copies["desynchronized"], copies["alone"])


def test_one_process_alone_can_evaluate_and_prune(results):
    copies = results[0]["copies"]
    torch.testing.assert_close(copies["pruned"], copies["evaluated"], **EXACT)


def test_the_state_dict_does_not_change(results):
    assert results[0]["copies"]["keys"] == list(tiny_network().state_dict())


def test_a_saved_model_works_alone_after_desynchronize(folder, results):
    model = torch.load(folder / "model.pth", weights_only=False)
    x = cases.draw(cases.SAMPLES, 1, 8, 8)[cases.UNEQUAL[0]]
    assert torch.equal(model.eval()(x), results[0]["copies"]["evaluated"])
    with pytest.raises(ArgumentError, match="not initialised") as info:
        model.train()(x)
    assert "desynchronize" in info.value.hint
    assert torch.equal(desynchronize(model)(x), results[0]["copies"]["alone"])


def test_statistics_are_shared_within_a_group_of_processes(results):
    case = cases.Case("SSN2d", (4, 3, 5))
    same_state(joined([r["subgroups"]["both"] for r in results]), cases.run_case(case, cases.ALL))
    for rank, result in enumerate(results):
        found = result["subgroups"]
        same_state(found["alone"], cases.run_case(case, cases.UNEQUAL[rank]))
        assert "process group of its own cannot be pickled" in found["pickled"]
        assert f"process {rank}, which is in another one" in found["foreign"]
        assert found["averaged"] == found["foreign"]


def test_a_later_group_that_torchrun_made_is_found(results):
    found = joined([result["torchrun"] for result in results])
    same_state(found, cases.run_case(cases.CASES[1], cases.ALL))
    assert all("not initialised" in result["unreachable"] for result in results)


@pytest.mark.parametrize("function", [synchronize, average_running_statistics])
def test_without_a_process_group_an_error_asks_for_one(function):
    layer = SSN2d(3)
    with pytest.raises(ArgumentError, match=r"torch\.distributed is not initialised") as info:
        function(layer)
    assert "init_process_group" in info.value.hint
    assert layer.reduction is None


def test_networks_without_our_layers_are_refused():
    dist.init_process_group("gloo", store=dist.HashStore(), rank=0, world_size=1)
    try:
        with pytest.raises(NoSwitchableLayerError, match="no switchable layer") as info:
            synchronize(nn.Sequential(nn.BatchNorm2d(3)))
        assert "SyncBatchNorm" in info.value.hint
        without = synchronize(SSN2d(3, normalizers=("IN", "LN")))
        assert without.reduction is None
        named_default = synchronize(SSN2d(3), dist.group.WORLD)
        pickle.dumps(named_default)
    finally:
        dist.destroy_process_group()
