"""What a node needs that an operator set lacks, by ONNX's own definitions of the operators."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import onnx_ir as ir
from onnx.defs import OpSchema, SchemaError, get_schema
from onnx.helper import get_attribute_value

from ssn_prune.onnx_export.opsets.table import IMPLIED, NEW_VALUES

EXPORTED_OPSET = 18
"""The oldest operator set that torch's exporter writes."""


def lacking(node: ir.Node, opset: int) -> str | None:
    """What a node of operator set 18 needs that another set lacks; None if nothing.

    A missing attribute does not count if its value is the one that the operator set implies.
    """
    if node.domain:
        return None
    try:
        schema = get_schema(node.op_type, opset)
    except SchemaError:
        return f"operator {node.op_type}"
    return (
        _attribute_lacking(node, schema, opset)
        or _input_lacking(node, schema)
        or _type_lacking(node.inputs, schema.inputs, schema)
        or _type_lacking(node.outputs, schema.outputs, schema)
    )


def needless_attributes(node: ir.Node, opset: int) -> list[str]:
    """The attributes of a node that an operator set does not define."""
    if node.domain:
        return []
    known = get_schema(node.op_type, opset).attributes
    return [name for name in node.attributes if name not in known]


def _attribute_lacking(node: ir.Node, schema: OpSchema, opset: int) -> str | None:
    implied = {name for operator, name in IMPLIED if operator == node.op_type}
    for name in sorted({*node.attributes, *implied}):
        key, value = (node.op_type, name), _attribute(node, name)
        since, newer = NEW_VALUES.get(key, (0, ()))
        unknown = name not in schema.attributes and value != IMPLIED.get(key)
        if unknown or (opset < since and value in newer):
            return f"{name} {value} of {node.op_type}"
    return None


def _attribute(node: ir.Node, name: str) -> Any:
    """The value of an attribute: the node's own, or the default."""
    if name in node.attributes:
        return node.attributes[name].value
    default = get_schema(node.op_type, EXPORTED_OPSET).attributes[name].default_value
    value = get_attribute_value(default)
    return value.decode() if isinstance(value, bytes) else value


def _input_lacking(node: ir.Node, schema: OpSchema) -> str | None:
    given = [index for index, value in enumerate(node.inputs) if value is not None]
    if not given or given[-1] < schema.max_input:
        return None
    newer = get_schema(node.op_type, EXPORTED_OPSET).inputs
    return f"input {newer[given[-1]].name} of {node.op_type}"


def _type_lacking(
    values: Sequence[ir.Value | None],
    parameters: Sequence[OpSchema.FormalParameter],
    schema: OpSchema,
) -> str | None:
    allowed = {entry.type_param_str: entry.allowed_type_strs for entry in schema.type_constraints}
    for index, value in enumerate(values):
        if value is None or not isinstance(value.type, ir.TensorType):
            continue
        kind = parameters[min(index, len(parameters) - 1)].type_str  # the last may be variadic
        name = f"tensor({value.type.dtype.name.lower()})"
        if name not in allowed.get(kind, (kind,)):
            return f"type {value.type.dtype.name.lower()} of {schema.name}"
    return None
