"""ONNX files with impossible inputs, outputs and sizes."""

from __future__ import annotations

import numpy as np
import onnx
from hostile_onnx_case import (
    ARGUMENT,
    FLOAT,
    OK,
    RUNTIME,
    VERIFICATION,
    Edit,
    OnnxCase,
    constant,
    edited,
    fill,
    instead,
    node,
    typed,
    value,
)
from onnx import TensorProto, helper

TENSOR = helper.make_tensor_type_proto(FLOAT, ["N", 1, 8, 8])
SEQUENCE = helper.make_sequence_type_proto(TENSOR)
OPTIONAL = helper.make_optional_type_proto(TENSOR)
SPARSE = helper.make_sparse_tensor_type_proto(FLOAT, [1, 1, 8, 8])
MAPS = helper.make_sequence_type_proto(
    helper.make_map_type_proto(TensorProto.INT64, helper.make_tensor_type_proto(FLOAT, []))
)
MAP = helper.make_map_type_proto(TensorProto.STRING, TENSOR)


# Sizes.


def input_shape(*shape) -> Edit:
    def edit(model: onnx.ModelProto) -> None:
        given = model.graph.input[0]
        given.CopyFrom(value(given.name, FLOAT, shape))

    return edit


def without_shape(model: onnx.ModelProto) -> None:
    model.graph.input[0].type.tensor_type.ClearField("shape")


SIZES = [
    OnnxCase("sizes: a batch of 10^12", edited(input_shape(10**12, 1, 8, 8)), bench=ARGUMENT),
    OnnxCase("sizes: a batch of 10^12 that is asked for", edited(input_shape(10**12, 1, 8, 8)), found="do not fit", options=("--batch", str(10**12))),
    OnnxCase("sizes: 10^12 rows", edited(input_shape("N", 1, 10**12, 8))),
    OnnxCase("sizes: 2^62 rows and columns", edited(input_shape("N", 1, 2**62, 2**62))),
    OnnxCase("sizes: a batch of 0", edited(input_shape(0, 1, 8, 8)), found="fixed at 0"),
    OnnxCase("sizes: no rows", edited(input_shape("N", 1, 0, 8))),
    OnnxCase("sizes: negative", edited(input_shape(-1, 1, -8, 8)), OK, ARGUMENT),
    OnnxCase("sizes: symbols", edited(input_shape("N", "C", "H", "W")), OK, ARGUMENT),
    OnnxCase("sizes: a symbol with control characters", edited(input_shape("N", 1, "\x1b[2J", 8)), OK, ARGUMENT),
    OnnxCase("sizes: no shape", edited(without_shape), OK, ARGUMENT),
    OnnxCase("sizes: rank 0", edited(input_shape())),
    OnnxCase("sizes: rank 3", edited(input_shape("N", 1, 64))),
    OnnxCase("sizes: rank 200", edited(input_shape(*["N"] * 200)), bench=ARGUMENT),
    OnnxCase("sizes: a constant of 10^12", fill([10**12])),
    OnnxCase("sizes: a constant of 2^60 times 2^60", fill([2**60, 2**60])),
    OnnxCase("sizes: a constant of -1", fill([-1])),
    OnnxCase("sizes: a range to 10^15", instead(node("Range", ["a", "b", "c"], ["y"]), weights=[constant("a", np.float32(0)), constant("b", np.float32(1e15)), constant("c", np.float32(1))])),
    OnnxCase("sizes: a picture made 10^6 times as large", instead(node("Resize", ["x", "", "s"], ["y"]), weights=[constant("s", np.array([1, 1, 1e6, 1e6], np.float32))])),
    OnnxCase("sizes: tiles", instead(node("Tile", ["x", "t"], ["y"]), weights=[constant("t", np.array([10**6] * 4, np.int64))])),
]  # fmt: skip


# Kinds of inputs and outputs.


def input_type(kind: onnx.TypeProto) -> Edit:
    return lambda model: model.graph.input[0].type.CopyFrom(kind)


def tensor_type(number: int) -> onnx.TypeProto:
    kind = helper.make_tensor_type_proto(FLOAT, ["N", 1, 8, 8])
    kind.tensor_type.elem_type = number
    return kind


def output_of(*nodes: onnx.NodeProto, kind: onnx.TypeProto | None = None, **options):
    shapeless = helper.make_tensor_type_proto(options.pop("elements", FLOAT), None)
    return instead(*nodes, outputs=[typed("y", kind or shapeless)], **options)


def cast(number: int):
    """Outputs of the right shape with another element type."""
    nodes = [
        node("ReduceMax", ["x"], ["m"], axes=[2, 3], keepdims=0),
        node("Concat", ["m", "m", "m"], ["f"], axis=1),
        node("Cast", ["f"], ["y"], to=number),
    ]
    return output_of(*nodes, elements=number, imports=[helper.make_opsetid("", 17)])


STRINGS = constant("s", np.array(["a", "\x1b[2J"], object))
TYPES = [
    *(
        OnnxCase(f"inputs: of {TensorProto.DataType.Name(number)}", edited(input_type(tensor_type(number))), found="no values can be made up")
        for number in (8, 14, 16, 17, 22)
    ),
    OnnxCase("inputs: of type 999", edited(input_type(tensor_type(999)))),
    OnnxCase("inputs: of whole numbers", edited(input_type(tensor_type(TensorProto.INT64)))),
    OnnxCase("inputs: a sequence", edited(input_type(SEQUENCE)), found="sequence"),
    OnnxCase("inputs: an optional", edited(input_type(OPTIONAL)), found="optional"),
    OnnxCase("inputs: a sparse tensor", edited(input_type(SPARSE)), found="sparse tensor"),
    OnnxCase("inputs: a map", edited(input_type(MAP)), found="map"),
    OnnxCase("inputs: without a type", edited(input_type(onnx.TypeProto())), found="no type"),
    OnnxCase("inputs: none", instead(node("Identity", ["w"], ["y"]), inputs=[], weights=[constant("w", np.zeros((1, 3), np.float32))]), RUNTIME, OK),
    OnnxCase("inputs: one too many", edited(lambda m: m.graph.input.append(value("more", FLOAT, ["N", 2]))), RUNTIME, OK),
    OnnxCase("inputs: 500 too many", edited(lambda m: m.graph.input.extend(value(f"i{i}", FLOAT, ["N", 2]) for i in range(500))), RUNTIME, OK),
    OnnxCase("inputs: twice the same", edited(lambda m: m.graph.input.append(m.graph.input[0]))),
    OnnxCase("outputs: none", edited(lambda m: m.graph.ClearField("output"))),
    OnnxCase("outputs: that nothing makes", edited(lambda m: m.graph.output.append(value("nowhere", FLOAT, ["N"])))),
    OnnxCase("outputs: twice the same", edited(lambda m: m.graph.output.append(m.graph.output[0])), VERIFICATION, OK),
    OnnxCase("outputs: one too many", edited(lambda m: m.graph.output.append(value(m.graph.node[0].output[0], FLOAT, None))), VERIFICATION, OK),
    OnnxCase("outputs: the input", instead(node("Identity", ["x"], ["z"]), outputs=[value("x", FLOAT, None)]), VERIFICATION, OK),
    OnnxCase("outputs: texts", output_of(node("Identity", ["s"], ["y"]), elements=TensorProto.STRING, weights=[STRINGS]), RUNTIME, OK, "no tensor of numbers"),
    OnnxCase("outputs: a sequence", output_of(node("SequenceConstruct", ["x", "x"], ["y"]), kind=helper.make_sequence_type_proto(helper.make_tensor_type_proto(FLOAT, None))), RUNTIME, OK, "no tensor of numbers"),
    OnnxCase("outputs: an optional", output_of(node("Optional", ["x"], ["y"]), kind=helper.make_optional_type_proto(helper.make_tensor_type_proto(FLOAT, None))), VERIFICATION, OK),
    OnnxCase("outputs: maps", output_of(node("Flatten", ["x"], ["f"]), node("ZipMap", ["f"], ["y"], domain="ai.onnx.ml", classlabels_int64s=list(range(64))), kind=MAPS, imports=[helper.make_opsetid("", 18), helper.make_opsetid("ai.onnx.ml", 3)]), RUNTIME, OK, "no tensor of numbers"),
    *(
        OnnxCase(f"outputs: of {TensorProto.DataType.Name(number)}", cast(number), VERIFICATION, OK)
        for number in (4, 7, 9, 10, 13)
    ),
    OnnxCase("outputs: of BFLOAT16", cast(TensorProto.BFLOAT16)),
    OnnxCase("outputs: of FLOAT8E4M3FN", cast(TensorProto.FLOAT8E4M3FN), VERIFICATION, OK),
    OnnxCase("outputs: of another rank", output_of(node("Identity", ["x"], ["y"])), VERIFICATION, OK),
    OnnxCase("outputs: a single number", output_of(node("ReduceSum", ["x"], ["y"], keepdims=0)), VERIFICATION, OK),
    OnnxCase("outputs: of no entries", fill([0, 3], outputs=[value("y", FLOAT, None)]), VERIFICATION, OK),
]  # fmt: skip
