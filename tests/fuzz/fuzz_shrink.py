"""Shrink a failing graph, as long as it fails in the same way.

The search is greedy: it takes the first simpler graph that still fails, until none does. Candidates
need not be valid; those that cannot be computed, or whose output is constant, are skipped.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator
from dataclasses import replace

from fuzz_checks import check_quickly as check
from fuzz_graphs import ONE_HOT, Alias, Conv, Graph, Module, Norm, without_dead_parts
from fuzz_outcome import FuzzError
from fuzz_parameters import draw_input, draw_parameters
from fuzz_reference import run_node
from fuzz_usable import is_usable
from torch import Tensor

Check = Callable[[Graph], object]

_SIMPLE_CONV = {
    "groups": 1,
    "kernel": 1,
    "stride": 1,
    "padding": 0,
    "output_padding": 0,
    "dilation": 1,
    "mode": "zeros",
    "transposed": False,
    "weight_from": "",
    "bias_from": "",
    "gain": (0.0, 0.0),
    "offset": 0.5,
    "outputs": (1, 2),
}
_SIMPLE_NORM = {
    "kind": "frozen",
    "mean": ONE_HOT[::-1],
    "var": ONE_HOT[::-1],
    "tied": False,
    "correction": 0,
    "affine": True,
    "eps": 1e-5,
    "spread": (-1.0, 0.5),
    "offset": 0.5,
    "zeros": False,
    "matched": True,
    "follows": "",
}
_CHOICES = ("outputs", "mean", "var")  # several simple values, to be tried in turn


def failure_kind(graph: Graph, run: Check = check) -> str | None:
    """How a graph fails; None if it passes or cannot be checked."""
    try:
        if not is_usable(graph):
            return None
    except (RuntimeError, ValueError, KeyError, IndexError, AttributeError, ZeroDivisionError):
        return None  # not a network
    try:
        run(graph)
    except FuzzError as failure:
        return failure.kind
    return None


def shrink(graph: Graph, run: Check = check, trials: int = 400) -> Graph:
    """The smallest graph found that fails in the same way.

    Args:
        graph: A failing graph.
        run: Raises :class:`FuzzError` for failing graphs.
        trials: Largest number of graphs to check.
    """
    kind = failure_kind(graph, run)
    progress = kind is not None
    seen = {graph}
    while progress:
        progress = False
        for candidate in _simpler(graph):
            if candidate in seen:
                continue
            seen.add(candidate)
            trials -= 1
            if trials < 0:
                return graph
            if failure_kind(candidate, run) == kind:
                graph, progress = candidate, True
                break
    return graph


def as_python(graph: Graph, kind: str) -> str:
    """A failing test, to paste into test_fuzz_regressions.py."""
    name = "".join(c if c.isalnum() else "_" for c in kind.lower())
    return f"def test_{name}() -> None:\n    check(\n        {_literal(graph)}\n    )\n"


def _literal(value: object) -> str:
    if isinstance(value, tuple):
        inner = ", ".join(_literal(item) for item in value)
        return f"({inner},)" if len(value) == 1 else f"({inner})"
    if not dataclasses.is_dataclass(value):
        return repr(value)
    shown = []
    for field in dataclasses.fields(value):
        item = getattr(value, field.name)
        if item != field.default:
            shown.append(f"{field.name}={_literal(item)}")
    return f"{type(value).__name__}({', '.join(shown)})"


def _simpler(graph: Graph) -> Iterator[Graph]:
    """Simpler graphs, the most radical changes first."""
    for value in range(1, len(graph.nodes)):
        yield without_dead_parts(replace(graph, outputs=(value,)))
    if len(graph.outputs) > 1:
        for value in graph.outputs:
            yield without_dead_parts(replace(graph, outputs=(value,)))
        for value in graph.outputs:
            rest = tuple(v for v in graph.outputs if v != value)
            yield without_dead_parts(replace(graph, outputs=rest))
    for index in range(len(graph.nodes)):
        for value in graph.nodes[index].inputs:
            yield from _refitted(_bypassed(graph, index, value))
    yield from _smaller_inputs(graph)
    for name, module in graph.modules:
        for simple in _simpler_modules(module):
            modules = tuple((n, simple if n == name else m) for n, m in graph.modules)
            yield from _refitted(replace(graph, modules=modules))
    for index, node in enumerate(graph.nodes):
        if node.op in ("functional", "bare", "leaky_relu", "hardswish") or node.args == (1,):
            op = "call" if node.module else "relu"
            plain = replace(node, op=op, args=() if node.module else (0,))
            if node.op not in ("chunk", "pick", "adaptive_avg", "adaptive_max", "upsample"):
                nodes = (*graph.nodes[:index], plain, *graph.nodes[index + 1 :])
                yield replace(graph, nodes=nodes)


def _bypassed(graph: Graph, index: int, value: int) -> Graph:
    """The graph without a node: its users use one of its operands instead."""

    def through(v: int) -> int:
        return value if v == index + 1 else v

    nodes = tuple(replace(n, inputs=tuple(through(v) for v in n.inputs)) for n in graph.nodes)
    outputs = tuple(dict.fromkeys(through(v) for v in graph.outputs))
    return without_dead_parts(replace(graph, nodes=nodes, outputs=outputs))


def _smaller_inputs(graph: Graph) -> Iterator[Graph]:
    for axis, size in enumerate(graph.input_shape):
        for smaller in dict.fromkeys((2 if axis != 1 else 1, size - 1)):
            if (1 if axis else 2) <= smaller < size:
                shape = (*graph.input_shape[:axis], smaller, *graph.input_shape[axis + 1 :])
                yield from _refitted(replace(graph, input_shape=shape))


def _simpler_modules(module: Module) -> Iterator[Module]:
    if isinstance(module, Alias):
        return
    table = _SIMPLE_CONV if isinstance(module, Conv) else _SIMPLE_NORM
    for name, simple in table.items():
        present = getattr(module, name)
        choices = simple if name in _CHOICES else (simple,)
        if name in ("mean", "var") and present in choices:
            choices = choices[: choices.index(present)]
        if name == "outputs":
            choices = tuple(c for c in choices if c < present)
        for choice in choices:
            if choice != present:
                yield replace(module, **{name: choice})


def _refitted(graph: Graph) -> Iterator[Graph]:
    """The graph with each module's channels adapted to its first input, if that is possible."""
    modules = dict(graph.modules)
    fitted: set[str] = set()
    try:
        for index, node in enumerate(graph.nodes):
            name = graph.original_name(node.module) if node.module else ""
            if not name or name in fitted:
                continue
            part = replace(graph, modules=tuple(modules.items()))
            parameters = draw_parameters(part)
            values: list[object] = [draw_input(part)]
            for earlier in graph.nodes[:index]:
                values.append(run_node(part, earlier, parameters, values, None))
            x = values[node.inputs[0]]
            assert isinstance(x, Tensor)
            module = modules[name]
            if isinstance(module, Norm):
                modules[name] = replace(module, channels=x.shape[1])
            elif isinstance(module, Conv):
                modules[name] = replace(module, inputs=x.shape[1])
            fitted.add(name)
    except (RuntimeError, ValueError, KeyError, IndexError, AttributeError, AssertionError):
        return
    yield replace(graph, modules=tuple(modules.items()))
