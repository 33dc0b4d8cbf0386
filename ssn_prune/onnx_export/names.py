"""Readable ONNX graphs: names by module path, and no traces of the exporting machine."""

from __future__ import annotations

import ast
import re
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from typing import Literal

import onnx_ir as ir
from onnx_ir.passes.common import NameFixPass

from ssn_prune.errors import ArgumentError

_SCOPES = "pkg.torch.onnx.name_scopes"


def module_path(node: ir.Node) -> str:
    """Path of the module that a node was exported from; empty for the network itself."""
    raw = node.metadata_props.get(_SCOPES)
    if raw is None:
        return ""
    scopes: list[str] = ast.literal_eval(raw)
    return scopes[-2] if len(scopes) >= 2 else ""


def layer_values(model: ir.Model, paths: dict[str, tuple[str, ...]]) -> dict[str, str]:
    """Name the value in the graph that equals each layer's output.

    Args:
        model: The exported model, before :func:`clean`.
        paths: For each layer, the module paths whose last node computes its output.

    Returns:
        Value name by layer; layers that left no node of their own are absent.
    """
    last: dict[str, str] = {}
    for node in model.graph:
        path = module_path(node)
        if node.outputs and node.outputs[0].name:
            last[path] = node.outputs[0].name
    return {layer: last[path] for layer, names in paths.items() for path in names if path in last}


def clean(model: ir.Model) -> None:
    """Rename nodes to ``module.path/Operator`` and drop the exporter's metadata, in place.

    These metadata hold stack traces with local paths, and they double the size of the graph.
    """
    seen: Counter[str] = Counter()
    for node in model.graph.all_nodes():
        path = module_path(node)
        name = f"{path}/{node.op_type}" if path else node.op_type
        seen[name] += 1
        node.name = name if seen[name] == 1 else f"{name}_{seen[name]}"
        node.doc_string = None
        node.metadata_props.clear()
        for output in node.outputs:
            output.metadata_props.clear()
            output.doc_string = None
    for value in [*model.graph.inputs, *model.graph.initializers.values()]:
        value.metadata_props.clear()
        value.doc_string = None
    model.graph.metadata_props.clear()
    model.graph.doc_string = None
    model.graph.name = "ssn_prune"
    model.metadata_props.clear()
    model.doc_string = None


_SPATIAL = {1: ("length",), 2: ("height", "width"), 3: ("depth", "height", "width")}


def axis_names(inputs: Iterable[tuple[str, Sequence[str | int]]]) -> dict[str, str]:
    """Names of the dynamic axes of a network's inputs: batch, height and so on.

    Args:
        inputs: Name and shape of each; a dynamic size is given by the exporter's symbol for it.

    Returns:
        The names by symbol. With several inputs, an axis whose name is taken by another symbol gets
        the input's name as a prefix.
    """
    names: dict[str, str] = {}
    for value, shape in inputs:
        for axis, size in enumerate(shape):
            if isinstance(size, int):
                continue
            spatial = _SPATIAL.get(len(shape) - 2, ())
            name = "batch" if axis == 0 else f"axis_{axis}"
            if axis >= 2 and spatial:
                name = spatial[axis - 2]
            name = f"{value}_{name}" if name in names.values() else name
            names.setdefault(size, name)
    return names


def with_axis_names(text: str, names: Mapping[str, str]) -> str:
    """The expression of a size, with names in the place of symbols."""
    symbols = "|".join(map(re.escape, names))
    return re.sub(rf"\b({symbols})\b", lambda match: names[match[0]], text) if names else text


def name_dynamic_axes(model: ir.Model) -> None:
    """Rename the dynamic axes, wherever they appear, by :func:`axis_names`; in place."""
    inputs = [(str(value.name), value.shape) for value in model.graph.inputs]
    names = axis_names((name, _sizes(shape)) for name, shape in inputs if shape is not None)
    if not names:
        return
    produced = (output for node in model.graph for output in node.outputs)
    for value in [*model.graph.inputs, *model.graph.outputs, *produced]:
        if value.shape is None or value.shape.frozen:
            continue
        for axis, dim in enumerate(value.shape):
            if isinstance(dim, ir.SymbolicDim) and dim.value is not None:
                value.shape[axis] = ir.SymbolicDim(with_axis_names(str(dim.value), names))


def _sizes(shape: ir.Shape) -> list[str | int]:
    """Sizes and symbols of a shape; an unknown axis counts as a fixed one, of size -1."""
    sizes = [dim.value if isinstance(dim, ir.SymbolicDim) else dim for dim in shape]
    return [-1 if size is None else size for size in sizes]


def input_names(count: int) -> tuple[str, ...]:
    """The default names of inputs: ``input``, ``input_1``, ``input_2``, ..."""
    return tuple("input" if index == 0 else f"input_{index}" for index in range(count))


_OPTIONS = {"input": "`input_names=`", "output": "`output_names=`"}


def chosen_names(
    given: Sequence[str] | None, usual: Sequence[str], kind: Literal["input", "output"]
) -> Sequence[str]:
    """The names that were asked for, else the default ones.

    Raises:
        ArgumentError: The number of names is not that of the inputs or outputs.
    """
    if given is None or len(given) == len(usual):
        return usual if given is None else given
    raise ArgumentError(
        f"the network has {len(usual)} {kind}s, not {len(given)}",
        expected=f"{len(usual)} names; without them: {', '.join(usual)}",
        found=", ".join(given),
        hint=f"leave {_OPTIONS[kind]} out, or give {len(usual)}",
    )


def require_apart(inputs: Sequence[str], outputs: Sequence[str]) -> None:
    """Refuse names if an input and an output share one.

    Raises:
        ArgumentError: They do.
    """
    both = [name for name in inputs if name in outputs]
    if both:
        raise ArgumentError(
            f"an input and an output would both be called {both[0]!r}",
            expected="a name of its own for each input and output",
            found=f"inputs {', '.join(inputs)}; outputs {', '.join(outputs)}",
            hint="pass other `input_names=` or `output_names=`, or leave them out",
        )


def name_inputs(model: ir.Model, names: Sequence[str]) -> None:
    """Name the inputs, in place; other values with these names are renamed."""
    for value, name in zip(model.graph.inputs, names, strict=False):
        value.name = name
    NameFixPass()(model)


def name_outputs(model: ir.Model, names: Sequence[str]) -> None:
    """Name the outputs, in place; other values with these names are renamed.

    An output that is also an input, or is returned twice, keeps the exporter's name.
    """
    outputs = list(model.graph.outputs)
    kept = {id(value) for value in outputs if value.is_graph_input() or outputs.count(value) > 1}
    fixed = {value.name for value in [*model.graph.inputs, *model.graph.initializers.values()]}
    fixed |= {value.name for value in outputs if id(value) in kept}
    inner = [value for node in model.graph.all_nodes() for value in node.outputs]
    taken = {value.name for value in inner} | fixed
    for output, wanted in zip(outputs, names, strict=True):
        if id(output) in kept:
            continue
        name = wanted
        while name in fixed:
            name += "_out"
        for value in inner:
            if value.name == name and value is not output:
                while value.name in taken:
                    value.name = f"{value.name}_inner"
                taken.add(value.name)
        output.name = name
        taken.add(name)
        fixed.add(name)
