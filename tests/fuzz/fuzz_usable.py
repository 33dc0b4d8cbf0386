"""Which random graphs test anything: alive, finite, and within what float32 can do."""

from __future__ import annotations

import math

import torch
from fuzz_folds import undefined_layers
from fuzz_graphs import IN, LN, Graph, Norm
from fuzz_parameters import Parameters, draw_input, draw_parameters
from fuzz_reference import evaluate, jitter_by, run_node
from torch import Tensor

UNIT, UNIT32 = 2.0**-53, 2.0**-24
# Float64 rounding alone must stay well below the tolerance of 1e-11.
NOISE_LIMIT = 1e-12
# Two things that float32 operators of torch and the runtimes cannot do with planes, or for LN with
# samples, whose mean lies apart from that of their channel (a constant of the channel is subtracted
# in front; nothing in front of an LN):
# - norms of nearly constant values: x * scale + shift, or the rounded mean of equal numbers, has an
#   error that grows with that distance in deviations;
MEAN_LIMIT = 10.0
# - the variance of nearly constant values: the mean of equal numbers is off by a unit in the last
#   place, and its square must vanish beside the variance and eps.
VARIANCE_LIMIT = 2.0**-23


def is_usable(graph: Graph) -> bool:
    """Whether a graph tests anything: has a layer, and answers that vary and can be computed.

    Graphs with an undefined variance are usable: they must be refused.
    """
    parameters = draw_parameters(graph)
    if not graph.switchable():
        return False
    if undefined_layers(graph, shapes_of(graph, parameters)):
        return True
    for index in range(2):
        x = draw_input(graph, index)
        if not _fits_float32(graph, parameters, x):
            return False
        outputs = evaluate(graph, parameters, x)
        moved = evaluate(graph, parameters, x, jitter_by(2 * UNIT, seed=index))
        for output, other in zip(outputs, moved, strict=True):
            scale = float(output.abs().max())
            if not math.isfinite(scale) or float(output.max() - output.min()) <= 1e-3 * scale:
                return False
            if not float((output - other).abs().max()) <= NOISE_LIMIT * scale:
                return False
    return True


def _fits_float32(graph: Graph, parameters: Parameters, x: Tensor) -> bool:
    """Whether no plane asks for more than MEAN_LIMIT and VARIANCE_LIMIT allow."""
    values: list[object] = [x]
    operands: dict[str, list[Tensor]] = {}
    for node in graph.nodes:
        values.append(run_node(graph, node, parameters, values, None))
        norm = graph.named(node.module) if node.module else None
        if isinstance(norm, Norm) and norm.switchable:
            operand = values[node.inputs[0]]
            assert isinstance(operand, Tensor)
            planes = operand.flatten(2) if operand.dim() > 2 else operand.unsqueeze(2)
            operands.setdefault(graph.original_name(node.module), []).append(planes)
    return all(_is_resolved(graph.named(name), planes) for name, planes in operands.items())


def _is_resolved(norm: Norm, calls: list[Tensor]) -> bool:
    resolved = True
    if norm.var[0] or norm.kind == "softmax":
        means = torch.cat([planes.mean(2) for planes in calls])
        variances = torch.cat([planes.var(2, correction=0) for planes in calls]) + norm.eps
        resolved = _within(means - means.mean(0), variances, normalized=norm.mean == IN)
    if norm.var[1] or norm.kind == "softmax":
        samples = [planes.flatten(1) for planes in calls]
        means = torch.cat([sample.mean(1) for sample in samples])
        variances = torch.cat([sample.var(1, correction=0) for sample in samples]) + norm.eps
        resolved = resolved and _within(means, variances, normalized=norm.mean == LN)
    return resolved


def _within(distance: Tensor, variances: Tensor, *, normalized: bool) -> bool:
    if normalized and bool((distance.abs() > MEAN_LIMIT * variances.sqrt()).any()):
        return False
    return bool(((2 * UNIT32 * distance) ** 2 <= VARIANCE_LIMIT * variances).all())


def shapes_of(graph: Graph, parameters: Parameters) -> list[tuple[int, ...] | None]:
    """Shapes of all values; None for a chunk's."""
    values = [draw_input(graph)]
    for node in graph.nodes:
        values.append(run_node(graph, node, parameters, values, None))
    return [tuple(v.shape) if isinstance(v, Tensor) else None for v in values]
