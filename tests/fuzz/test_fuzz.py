"""Random graphs in continuous integration, and proof that the fuzzer can fail."""

from __future__ import annotations

import logging

import pytest
import torch
from fuzz_checks import check
from fuzz_faults import FAULTS, eps_forgotten
from fuzz_generate import random_graph
from fuzz_graphs import IN, LN, Graph, Node, Norm
from fuzz_network import build
from fuzz_outcome import FuzzError, Outcome
from fuzz_parameters import draw_parameters
from fuzz_run import CHUNK, Run, run_seeds, summary
from fuzz_shrink import as_python, failure_kind, shrink

GRAPHS = 100  # 100,000 before a release: release/
ONNX_EVERY = 5
SEARCHED = 200
# One graph in a hundred may exceed the literal bound, and here by chance another one; see
# fuzz_rounding. Which graphs do so depends on the summation order of a processor's kernels.
MOST_REDRAWN = 2


@pytest.fixture(autouse=True)
def _quiet_on_one_thread(monkeypatch):
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    disabled = logging.root.manager.disable
    logging.disable(logging.WARNING)  # torch.export's notes on sizes of 1
    yield
    logging.disable(disabled)
    torch.set_num_threads(threads)


@pytest.fixture(scope="module")
def outcomes() -> list[Outcome]:
    """The outcomes of the chunks of seeds."""
    return []


@pytest.mark.parametrize("first", range(0, GRAPHS, CHUNK))
def test_random_graphs(first: int, outcomes: list[Outcome]) -> None:
    run = run_seeds(range(first, first + CHUNK), ONNX_EVERY, trials=30)
    assert not run.failures, "\n".join([*run.failures, *run.reproductions])
    assert run.outcome.graphs == CHUNK, summary(run)
    assert run.outcome.in_runtime >= CHUNK // ONNX_EVERY - 4, summary(run)
    outcomes.append(run.outcome)


def test_few_graphs_miss_the_literal_bound(outcomes: list[Outcome]) -> None:
    assert sum(outcome.redrawn for outcome in outcomes) <= MOST_REDRAWN
    assert sum(outcome.ill_conditioned for outcome in outcomes) <= MOST_REDRAWN


def test_a_seed_always_gives_the_same_graph() -> None:
    assert random_graph(7) == random_graph(7)
    assert random_graph(7) != random_graph(8)


def _kind_of_failure(seed: int) -> str | None:
    try:
        check(random_graph(seed), thoroughly=False)
    except FuzzError as failure:
        return failure.kind
    return None


@pytest.mark.parametrize("fault", FAULTS.values(), ids=FAULTS)
def test_a_fault_is_found(fault) -> None:
    for seed in range(SEARCHED):
        with fault():
            kind = _kind_of_failure(seed)
        if kind in ("pruned64", "folds") and _kind_of_failure(seed) is None:
            return  # found, and it was the fault
    pytest.fail(f"not found within {SEARCHED} graphs")


def test_failing_graphs_become_small() -> None:
    def run(graph: Graph) -> None:
        with eps_forgotten():
            check(graph, thoroughly=False)

    seed = next(s for s in range(SEARCHED) if failure_kind(random_graph(s), run))
    graph = random_graph(seed)
    small = shrink(graph, run)
    assert failure_kind(small, run) == failure_kind(graph, run) == "pruned64"
    assert len(small.nodes) <= 3
    assert sum(isinstance(module, Norm) for _, module in small.modules) == 1
    text = as_python(small, "pruned64")
    names: dict[str, object] = {}
    source = "from fuzz_graphs import *\nfrom fuzz_checks import check\n" + text
    exec(compile(source, "reproduction", "exec"), names)
    names["test_pruned64"]()  # without the fault it passes
    assert eval(text.split("check(", 1)[1].rsplit(")", 1)[0].strip(), names) == small


def test_an_undefined_variance_must_be_refused() -> None:
    norm = Norm(dim=2, channels=2, mean=IN, var=LN, correction=1)
    nodes = (Node("adaptive_avg", (0,), args=(1,)), Node("call", (1,), "norm"))
    graph = Graph(1, (2, 2, 3, 3), (("norm", norm),), nodes, (2,))
    assert check(graph).outcome.undefined == 1


def test_a_passing_graph_is_not_shrunk() -> None:
    graph = random_graph(7)
    assert shrink(graph) is graph


def test_failures_are_reported_with_a_reproduction() -> None:
    with eps_forgotten():
        run = run_seeds(range(10), trials=50)
    assert isinstance(run, Run)
    assert run.failures
    assert "check(" in run.reproductions[0]
    assert f"{len(run.failures)} failures" in summary(run)


def test_the_network_of_a_graph_has_the_parameters_of_the_reference() -> None:
    graph = random_graph(0)
    parameters = draw_parameters(graph)
    network = build(graph, parameters)
    for name, module in graph.modules:
        if not isinstance(module, Norm) and name in dict(graph.modules):
            weight = network.parts[name].weight.detach().double()
            assert torch.equal(weight, parameters[name]["weight"])
