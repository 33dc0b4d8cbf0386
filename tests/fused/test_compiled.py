"""What a compiler, an export, and second derivatives see."""

from __future__ import annotations

import copy
import re

import pytest
import torch
from functorch.compile import make_boxed_func
from layer_reference import assert_agree, expected, measured
from layer_samples import maps, trained
from torch import nn
from torch._dynamo.backends.common import aot_autograd

from ssn_prune import freeze_selected
from ssn_prune.nn import fused
from ssn_prune.nn.ssn import SSN2d
from ssn_prune.nn.switch_norm import SwitchNorm2d
from ssn_prune.normalizer import Normalizer


@pytest.fixture(autouse=True)
def fresh_compiler():
    torch.compiler.reset()
    yield
    torch.compiler.reset()


def compiled(layer, graphs):
    def keep(graph, inputs):
        graphs.append(graph)
        return make_boxed_func(graph.forward)

    return torch.compile(layer, backend=aot_autograd(fw_compiler=keep), fullgraph=True)


def operators(graphs):
    """Those of ours, also where an operator is an argument because it updates its inputs."""
    nodes = [node for graph in graphs for node in graph.graph.nodes]
    return set(re.findall(r"ssn_prune\.\w+", " ".join(f"{n.target} {n.args}" for n in nodes)))


OPTIONS = [
    {},
    {"affine": False, "momentum": None},
    {"correction": 1, "groups": 2},
    {"shared_gate": True},
    {"frozen": True, "track_running_stats": False},
    {"normalizers": ("LN", "BN"), "radius": 0.0},
]


@pytest.mark.parametrize(
    ("layer_class", "options"),
    [*[(SSN2d, options) for options in OPTIONS], (SwitchNorm2d, {})],
    ids=str,
)
def test_compiled_training_follows_the_formula(layer_class, options):
    layer = trained(layer_class, 3, **options).float()
    x = maps((4, 3, 5, 4), "channels_last").float()
    wanted = expected(layer, x)
    layer.compile(backend="aot_eager", fullgraph=True)
    assert_agree(measured(layer, x), wanted, 4e-6, 80)


def test_a_compiler_sees_two_operators_and_plain_arithmetic():
    layer, graphs = trained(SSN2d, 3).float(), []
    x = maps((4, 3, 5, 4)).float().requires_grad_()
    compiled(layer, graphs)(x).sum().backward()
    assert operators(graphs) == {"ssn_prune.statistics", "ssn_prune.gradients"}
    plain = [str(node.target) for graph in graphs for node in graph.graph.nodes]
    assert plain.count("aten.mul.Tensor") >= 3


def test_another_batch_size_compiles_once_for_all():
    layer = trained(SSN2d, 3).float()
    run = torch.compile(layer, backend="aot_eager", dynamic=True, fullgraph=True)
    eager = copy.deepcopy(layer)
    for n in (4, 6, 3):
        x = maps((n, 3, 5, 4)).float()
        assert torch.allclose(run(x), eager(x), atol=1e-6)


@pytest.mark.parametrize("strict", [False, True])
def test_no_operator_of_ours_reaches_an_export(strict):
    layer = trained(SSN2d, 3).float()
    layer.gate_definition = "paper"
    x = maps((4, 3, 5, 4)).float()
    for training in (True, False):
        program = torch.export.export(layer.train(training), (x,), strict=strict)
        assert not operators([program])


def test_no_operator_of_ours_is_compiled_for_evaluation():
    layer, graphs = trained(SSN2d, 3).float().eval(), []
    with torch.no_grad():
        compiled(layer, graphs)(maps((4, 3, 5, 4)).float())
    assert graphs
    assert not operators(graphs)


def test_evaluation_and_float64_are_not_fused(monkeypatch):
    from ssn_prune.nn.fused import autograd

    def refuse(*_):
        raise AssertionError("fused")

    monkeypatch.setattr(autograd, "fused_norm", refuse)
    layer = trained(SSN2d, 3)
    layer(maps((4, 3, 5, 4)))
    layer.float().eval()(maps((4, 3, 5, 4)).float())
    with pytest.raises(AssertionError, match="fused"):
        layer.train()(maps((4, 3, 5, 4)).float())


def test_second_derivatives_are_those_of_the_formula():
    layer = trained(SwitchNorm2d, 3)
    x = maps((2, 3, 4, 3))
    found = []
    for dtype in (torch.float32, torch.float64):
        copied = copy.deepcopy(layer).to(dtype)
        given = x.to(dtype).requires_grad_()
        inputs = (given, *copied.parameters())
        first = torch.autograd.grad(copied(given).square().sum(), inputs, create_graph=True)
        total = sum(value.square().sum() for value in first)
        found.append(torch.autograd.grad(total, inputs))
    for single, double in zip(*found, strict=True):
        assert float((single - double).abs().max()) <= 1e-4 * float(double.abs().max())


def test_second_derivatives_of_a_sparse_gate_are_refused():
    layer = trained(SSN2d, 3).float()
    y = layer(maps((2, 3, 4, 3)).float()).square().sum()
    first = torch.autograd.grad(y, tuple(layer.parameters()), create_graph=True)
    with pytest.raises(RuntimeError, match="no second derivatives"):
        sum(value.sum() for value in first).backward()


def test_gradients_are_made_for_what_needs_them():
    layer = trained(SSN2d, 3).float().requires_grad_(False)
    x = maps((2, 3, 4, 3)).float()
    assert not layer(x).requires_grad
    layer.mean_weight.requires_grad_()
    layer(x).sum().backward()
    assert layer.mean_weight.grad is not None
    assert layer.weight.grad is None
    layer.mean_weight.requires_grad_(False)
    x.requires_grad_()
    layer(x).sum().backward()
    assert x.grad is not None


def test_statistics_are_measured_without_gradients():
    layer = trained(SSN2d, 3).float()
    x = maps((4, 3, 5, 4)).float()
    wanted = expected(layer, x)
    with torch.no_grad():
        layer(x)
    assert torch.allclose(layer.running_var.double(), wanted["running_var"], atol=1e-6)
    assert int(layer.num_batches_tracked) == 1


def test_gates_of_the_reference_code_are_used_without_gradients():
    layer = SSN2d(3, gate_definition="reference")
    with torch.no_grad():
        layer.mean_weight.copy_(torch.tensor([2.0, 0.1, 0.3]))
        layer.radius.fill_(0.5)
        x = maps((4, 3, 5, 4))
        single, double = layer(x.float()), copy.deepcopy(layer).double()(x)
    assert layer.gate_definition == "reference"
    assert torch.allclose(single.double(), double, atol=1e-5)


class OneProcess:
    """Shares the statistics with nobody."""

    def __init__(self):
        self.calls = []

    def pooled(self, moments, samples):
        self.calls.append(samples)
        return moments.clone(), samples

    def summed(self, gradients):
        self.calls.append("summed")
        return gradients.clone()


@pytest.mark.parametrize("correction", [0, 1, 2])
def test_shared_statistics_of_one_process_are_its_own(correction):
    layer = trained(SSN2d, 3, correction=correction, groups=2).float()
    alone, shared = layer, copy.deepcopy(layer)
    shared.reduction = OneProcess()
    x = maps((4, 3, 5, 4)).float()
    wanted, found = measured(alone, x), measured(shared, x)
    assert shared.reduction.calls == [2, "summed"]
    for name, value in wanted.items():
        assert torch.allclose(found[name], value, atol=1e-6), name


def test_a_pair_is_compiled_too():
    layer = trained(SSN2d, 3)
    layer.fix(Normalizer.IN, Normalizer.BN)
    module = freeze_selected(nn.Sequential(layer)).model.float()
    x, graphs = maps((4, 3, 5, 4)).float(), []
    y = compiled(copy.deepcopy(module), graphs)(x)
    assert torch.allclose(y, module(x), atol=1e-6)
    assert operators(graphs) == {"ssn_prune.statistics"}


def test_interpreter_is_on():
    assert fused.runs_fused(torch.zeros(1, 1, 1))
