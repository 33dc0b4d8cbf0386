"""The outputs of an ONNX file, and the activations with a fixed range that make them.

A runtime computes such an activation to about 1e-7 of its range, however small the values are: the
probability 6.1e-6 of a sigmoid comes out as 6.2e-6. So for an output that consists of entries of
such an activation, in any order and shape, the scale of the rounding check is the range and not the
largest value.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import onnx

from ssn_prune.errors import InferenceRuntimeError
from ssn_prune.runtime.reading import read_model

RANGED = ("Sigmoid", "HardSigmoid", "Tanh", "Softmax")
"""Operators whose values are at most 1 in magnitude, and can reach 1."""
REARRANGING = ("Identity", "Reshape", "Flatten", "Squeeze", "Unsqueeze", "Transpose", "Slice")
"""Operators that only rearrange entries of their first input; Concat does so with all inputs."""


@dataclass(frozen=True)
class FileOutput:
    """One output of a file.

    Attributes:
        name: Its name in the file.
        activation: The operator of :data:`RANGED` that makes all its entries; None if there is
            none. Several are joined with ``+``.
    """

    name: str
    activation: str | None = None


def onnx_outputs(path: Path) -> tuple[FileOutput, ...]:
    """The outputs of an ONNX file, in its order; empty if it is not an ONNX file.

    Args:
        path: The file. External data is not read.
    """
    try:
        return outputs_of(read_model(path))
    except InferenceRuntimeError:  # the runtime, which opens it next, reports what is wrong
        return ()


def outputs_of(model: onnx.ModelProto) -> tuple[FileOutput, ...]:
    """The outputs of a model, in its order."""
    graph = model.graph
    makers = {name: node for node in graph.node for name in node.output}
    return tuple(
        FileOutput(value.name, "+".join(sorted(_activations(value.name, makers))) or None)
        for value in graph.output
    )


def _activations(name: str, makers: dict[str, onnx.NodeProto]) -> set[str]:
    """The operators that make a value's entries; empty if one of them is not in :data:`RANGED`."""
    found: set[str] = set()
    seen: set[str] = set()
    pending = [name]
    while pending:
        name = pending.pop()
        node = makers.get(name)
        if node is None:
            return set()
        if name in seen:
            continue
        seen.add(name)
        if node.op_type in RANGED:
            found.add(node.op_type)
        elif node.op_type in REARRANGING:
            pending += node.input[:1]
        elif node.op_type == "Concat":
            pending += node.input
        else:
            return set()
    return found
