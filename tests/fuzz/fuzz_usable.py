"""Which random graphs test anything: alive, finite, well conditioned in float64."""

from __future__ import annotations

import math

from fuzz_folds import undefined_layers
from fuzz_graphs import Graph
from fuzz_parameters import Parameters, draw_input, draw_parameters
from fuzz_reference import evaluate, jitter_by, run_node
from torch import Tensor

UNIT = 2.0**-53
# Float64 rounding alone must stay well below the tolerance of 1e-11.
NOISE_LIMIT = 1e-12


def is_usable(graph: Graph) -> bool:
    """Whether a graph tests anything: it has a layer, and outputs that vary and can be computed.

    Graphs with an undefined variance are usable: they must be refused.
    """
    parameters = draw_parameters(graph)
    if not graph.switchable():
        return False
    if undefined_layers(graph, shapes_of(graph, parameters)):
        return True
    for index in range(2):
        x = draw_input(graph, index)
        outputs = evaluate(graph, parameters, x)
        moved = evaluate(graph, parameters, x, jitter_by(2 * UNIT, seed=index))
        for output, other in zip(outputs, moved, strict=True):
            scale = float(output.abs().max())
            if not math.isfinite(scale) or float(output.max() - output.min()) <= 1e-3 * scale:
                return False
            if not float((output - other).abs().max()) <= NOISE_LIMIT * scale:
                return False
    return True


def shapes_of(graph: Graph, parameters: Parameters) -> list[tuple[int, ...] | None]:
    """Shapes of all values; None for a chunk's."""
    values = [draw_input(graph)]
    for node in graph.nodes:
        values.append(run_node(graph, node, parameters, values, None))
    return [tuple(v.shape) if isinstance(v, Tensor) else None for v in values]
