"""Graphs that once failed, or that are rarely drawn at random, shrunk as far as possible."""

from __future__ import annotations

import logging

import pytest
import torch
from fuzz_checks import check as check_graph
from fuzz_graphs import IN, LN, Conv, Graph, Node, Norm


@pytest.fixture(autouse=True)
def _quiet_on_one_thread():
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    disabled = logging.root.manager.disable
    logging.disable(logging.WARNING)
    yield
    logging.disable(disabled)
    torch.set_num_threads(threads)


def check(graph: Graph) -> None:
    """The literal bound."""
    outcome = check_graph(graph).outcome
    assert (outcome.redrawn, outcome.ill_conditioned) == (0, 0)


def check_ill_conditioned(graph: Graph) -> None:
    """Check a graph whose original is exact by luck; the bound must need its conditioning."""
    assert check_graph(graph).outcome.ill_conditioned == 1


def test_three_static_norms_in_a_row_without_a_convolution() -> None:
    norms = tuple((f"norm{index}", Norm(dim=2, channels=1)) for index in range(3))
    nodes = tuple(Node("call", (index,), f"norm{index}") for index in range(3))
    check(Graph(seed=1, input_shape=(2, 1, 3, 3), modules=norms, nodes=nodes, outputs=(3,)))


def test_two_static_norms_after_another_norm() -> None:
    modules = (
        ("norm0", Norm(dim=2, channels=2, mean=IN, var=IN)),
        ("norm1", Norm(dim=2, channels=2)),
        ("norm2", Norm(dim=2, channels=2)),
    )
    nodes = tuple(Node("call", (index,), f"norm{index}") for index in range(3))
    check(Graph(seed=1, input_shape=(2, 2, 3, 3), modules=modules, nodes=nodes, outputs=(3,)))


def test_static_norm_and_batch_norm_after_another_norm() -> None:
    modules = (
        ("norm0", Norm(dim=2, channels=2, mean=IN, var=IN)),
        ("norm1", Norm(dim=2, channels=2)),
        ("batch", Norm(dim=2, channels=2, kind="batch")),
    )
    nodes = tuple(Node("call", (index,), name) for index, (name, _) in enumerate(modules))
    check(Graph(seed=1, input_shape=(2, 2, 3, 3), modules=modules, nodes=nodes, outputs=(3,)))


def test_static_norm_before_a_convolution_whose_input_is_changed_in_place() -> None:
    modules = (
        ("norm", Norm(dim=2, channels=2)),
        ("conv", Conv(dim=2, inputs=2, outputs=2)),
    )
    nodes = (
        Node("avg_pool", (0,), args=(2, 1)),
        Node("call", (1,), "norm"),
        Node("relu", (1,), args=(1,)),
        Node("call", (2,), "conv"),
    )
    check(Graph(seed=1, input_shape=(2, 2, 4, 4), modules=modules, nodes=nodes, outputs=(3, 4)))


def test_batch_norm_that_is_used_elsewhere_between_a_static_norm_and_a_convolution() -> None:
    modules = (
        ("norm", Norm(dim=2, channels=2)),
        ("batch", Norm(dim=2, channels=2, kind="batch")),
        ("conv", Conv(dim=2, inputs=2, outputs=2)),
    )
    nodes = (
        Node("call", (0,), "norm"),
        Node("call", (1,), "batch"),
        Node("call", (2,), "conv"),
        Node("avg_pool", (0,), args=(2, 1)),
        Node("call", (4,), "batch"),
    )
    check(Graph(seed=1, input_shape=(2, 2, 4, 4), modules=modules, nodes=nodes, outputs=(3, 5)))


def test_conditions_on_the_sizes_of_a_pooling() -> None:
    modules = (
        ("conv", Conv(dim=2, inputs=1, outputs=2, kernel=3, stride=2, padding=2, dilation=2)),
        ("norm", Norm(dim=2, channels=2)),
    )
    nodes = (
        Node("avg_pool", (0,), args=(2, 1)),
        Node("call", (1,), "conv"),
        Node("call", (2,), "norm"),
    )
    check(Graph(seed=4000, input_shape=(2, 1, 3, 3), modules=modules, nodes=nodes, outputs=(3,)))


def test_centring_by_a_running_mean_that_the_inputs_never_have() -> None:
    modules = (
        ("conv", Conv(dim=2, inputs=1, outputs=2, bias=False)),
        ("norm", Norm(dim=2, channels=2, mean=IN, spread=(-3.0, 2.0), offset=1e4)),
    )
    nodes = (Node("call", (0,), "conv"), Node("call", (1,), "norm"))
    check(Graph(seed=513001, input_shape=(2, 1, 1, 2), modules=modules, nodes=nodes, outputs=(2,)))


def test_layer_norm_of_a_single_entry() -> None:
    modules = (("norm", Norm(dim=2, channels=1, mean=LN, var=LN)),)
    nodes = (Node("call", (0,), "norm"), Node("cat", (1, 0)))
    check(Graph(seed=168000, input_shape=(2, 1, 1, 1), modules=modules, nodes=nodes, outputs=(2,)))


def test_folded_running_mean_that_the_inputs_never_have() -> None:
    modules = (
        ("conv", Conv(dim=2, inputs=1, outputs=1)),
        ("norm", Norm(dim=2, channels=1, var=LN, offset=1e4)),
    )
    nodes = (Node("call", (0,), "conv"), Node("call", (1,), "norm"))
    check(Graph(seed=541001, input_shape=(2, 1, 1, 2), modules=modules, nodes=nodes, outputs=(2,)))


def test_constant_planes_far_from_zero_under_a_layer_mean() -> None:
    conv = Conv(dim=2, inputs=1, outputs=2, padding=1, mode="replicate", offset=1e4)
    modules = (("conv", conv), ("norm", Norm(dim=2, channels=2, mean=LN, var=IN)))
    nodes = (Node("call", (0,), "conv"), Node("call", (1,), "norm"))
    shape = (2, 1, 1, 1)
    check(Graph(seed=10818000, input_shape=shape, modules=modules, nodes=nodes, outputs=(2,)))


def test_two_calls_with_means_far_apart() -> None:
    modules = (
        ("norm0", Norm(dim=3, channels=2, zeros=True)),
        ("conv1", Conv(dim=3, inputs=2, outputs=8)),
        ("norm3", Norm(dim=3, channels=2, var=IN)),
        ("norm4", Norm(dim=3, channels=2, var=LN)),
        ("norm5", Norm(dim=3, channels=8, mean=IN)),
    )
    nodes = (
        Node("call", (0,), "norm0"),
        Node("call", (1,), "norm3"),
        Node("call", (2,), "norm4"),
        Node("call", (3,), "conv1"),
        Node("call", (4,), "norm5"),
        Node("call", (2,), "conv1"),
        Node("call", (6,), "norm5"),
    )
    shape = (2, 2, 1, 1, 2)
    check(Graph(seed=10764000, input_shape=shape, modules=modules, nodes=nodes, outputs=(5, 7)))


def test_instance_norm_of_planes_that_are_constant_in_each_sample() -> None:
    conv = Conv(dim=2, inputs=1, outputs=2, padding=1, mode="circular", bias=False)
    modules = (("conv", conv), ("norm", Norm(dim=2, channels=2, mean=IN, var=IN)))
    nodes = (Node("call", (0,), "conv"), Node("call", (1,), "norm"))
    shape = (2, 1, 1, 1)
    check_ill_conditioned(
        Graph(seed=1827000, input_shape=shape, modules=modules, nodes=nodes, outputs=(2,))
    )


def test_layer_mean_of_a_single_entry_after_a_folded_scale() -> None:
    modules = (
        ("conv2", Conv(dim=0, inputs=1, outputs=1, bias=False)),
        ("norm3", Norm(dim=1, channels=1, mean=LN, spread=(-3.0, 2.0), matched=False)),
        ("conv4", Conv(dim=0, inputs=1, outputs=2)),
    )
    nodes = (
        Node("flatten", (0,)),
        Node("call", (1,), "conv2"),
        Node("call", (2,), "norm3"),
        Node("call", (3,), "conv4"),
    )
    shape = (2, 1, 1, 1)
    check_ill_conditioned(
        Graph(seed=15676000, input_shape=shape, modules=modules, nodes=nodes, outputs=(4,))
    )


def test_a_norm_called_on_its_own_constant_output() -> None:
    modules = (
        ("norm3", Norm(dim=1, channels=1, zeros=True)),
        ("conv4", Conv(dim=1, inputs=1, outputs=6, bias=False)),
        ("norm5", Norm(dim=1, channels=6, var=IN)),
    )
    nodes = tuple(
        Node("call", (index,), name)
        for index, name in enumerate(("norm3", "conv4", "norm5", "norm5"))
    )
    check_ill_conditioned(
        Graph(seed=3083000, input_shape=(2, 1, 3), modules=modules, nodes=nodes, outputs=(4,))
    )
