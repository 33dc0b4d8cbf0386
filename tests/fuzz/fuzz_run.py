"""Run the fuzzer over many seeds: ``python tests/fuzz/fuzz_run.py --count 100000 --seed 0``.

Prints one line of statistics. If a graph fails, prints the smallest reproduction found, ready for
test_fuzz_regressions.py, and exits with 1.
"""

from __future__ import annotations

import argparse
import contextlib
import logging
import multiprocessing
import warnings
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field

import torch
from fuzz_checks import Checked, check
from fuzz_generate import random_graph
from fuzz_graphs import Graph
from fuzz_onnx import GraphError, check_in_runtime, check_one_in_runtime
from fuzz_outcome import FuzzError, Outcome
from fuzz_shrink import as_python, shrink
from fuzz_speed import THOROUGH_EVERY

CHUNK = 100


@dataclass
class Run:
    """The outcome of some seeds.

    Attributes:
        outcome: The outcome of all graphs that passed.
        failures: Seed, kind and text of each failure.
        reproductions: Shrunk graphs as tests, at most one per chunk of seeds.
    """

    outcome: Outcome = field(default_factory=Outcome)
    failures: list[str] = field(default_factory=list)
    reproductions: list[str] = field(default_factory=list)

    def add(self, other: Run) -> None:
        """Merge another run."""
        self.outcome.add(other.outcome)
        self.failures += other.failures
        self.reproductions += other.reproductions


def run_seeds(seeds: Iterable[int], onnx_every: int = 0, trials: int = 400) -> Run:
    """Check the graphs of some seeds.

    Args:
        seeds: The seeds.
        onnx_every: Seeds divisible by this also run in ONNX Runtime; 0 for none.
        trials: Largest number of graphs to check while shrinking a failing one.
    """
    run = Run()
    exported: list[Checked] = []
    for seed in seeds:
        graph = random_graph(seed)
        thoroughly = seed % THOROUGH_EVERY == 0
        try:
            checked = check(graph, thoroughly=thoroughly)
        except FuzzError as failure:
            _note(run, seed, graph, failure, trials, thoroughly=thoroughly)
            continue
        run.outcome.add(checked.outcome)
        if onnx_every and seed % onnx_every == 0:
            exported.append(checked)
    try:
        run.outcome.add(check_in_runtime(exported))
    except GraphError as failure:
        graph = failure.checked.graph
        run.failures.append(str(failure))
        run.reproductions.append(
            as_python(shrink(graph, _in_runtime, trials // 10), failure.failure.kind)
        )
    return run


def _note(
    run: Run, seed: int, graph: Graph, failure: FuzzError, trials: int, *, thoroughly: bool
) -> None:
    run.failures.append(f"seed {seed}: {failure}")
    if run.reproductions:
        return

    def again(candidate: Graph) -> None:
        check(candidate, thoroughly=thoroughly)

    run.reproductions.append(as_python(shrink(graph, again, trials), failure.kind))


def _in_runtime(graph: Graph) -> None:
    try:
        check_one_in_runtime(check(graph, thoroughly=False))
    except GraphError as failure:
        raise failure.failure from failure


def summary(run: Run) -> str:
    """One line of statistics."""
    outcome = run.outcome
    worst = ", ".join(f"{key} {ratio:.2g}" for key, ratio in sorted(outcome.worst.items()))
    return (
        f"{outcome.graphs} graphs passed ({outcome.undefined} rightly refused, "
        f"{outcome.in_runtime} in the runtime, {outcome.redrawn} with more inputs, "
        f"{outcome.ill_conditioned} ill conditioned), "
        f"{outcome.layers} layers, folds: {_listed(outcome.folds)}; "
        f"refusals: {_listed(outcome.refusals)}; "
        f"worst error/bound: {worst}; {len(run.failures)} failures"
    )


def _listed(counts: dict[str, int]) -> str:
    return ", ".join(f"{key} {counts[key]}" for key in sorted(counts)) or "none"


def _quietly(arguments: tuple[list[int], int]) -> Run:
    torch.set_num_threads(1)
    logging.getLogger("torch.export").setLevel(logging.ERROR)
    logging.getLogger("torch._export").setLevel(logging.ERROR)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return run_seeds(*arguments)


def _chunks(first: int, count: int, onnx_every: int) -> Iterator[tuple[list[int], int]]:
    for start in range(first, first + count, CHUNK):
        yield list(range(start, min(start + CHUNK, first + count))), onnx_every


def main() -> int:
    """Parse the command line and run."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--count", type=int, default=1000, help="number of seeds")
    parser.add_argument("--seed", type=int, default=0, help="the first seed")
    parser.add_argument("--onnx-every", type=int, default=50, help="0: not in the runtime")
    parser.add_argument("--processes", type=int, default=1)
    options = parser.parse_args()
    total = Run()
    chunks = _chunks(options.seed, options.count, options.onnx_every)
    with contextlib.ExitStack() as stack:
        parts: Iterable[Run] = map(_quietly, chunks)
        if options.processes > 1:
            pool = stack.enter_context(multiprocessing.get_context("spawn").Pool(options.processes))
            parts = pool.imap_unordered(_quietly, chunks)
        for part in parts:
            total.add(part)
            for failure in part.failures:
                print(failure, flush=True)  # noqa: T201
    for reproduction in total.reproductions[:5]:
        print(reproduction)  # noqa: T201
    print(summary(total))  # noqa: T201
    return 1 if total.failures else 0


if __name__ == "__main__":
    raise SystemExit(main())
