"""ONNX files with graphs that cannot run, or that never end."""

from __future__ import annotations

import numpy as np
import onnx
from hostile_onnx_case import (
    FLOAT,
    OK,
    OWN,
    SHAPELESS,
    VERIFICATION,
    Edit,
    OnnxCase,
    Place,
    constant,
    edited,
    instead,
    node,
    value,
    weight,
)
from onnx import TensorProto, helper

# Endless.


def loop(count, condition: bool | None, *, growing: bool = False):
    """A loop that passes its state on, or doubles it."""
    step = node("Concat", ["s", "s"], ["t"], axis=0) if growing else node("Identity", ["s"], ["t"])
    body = helper.make_graph(
        [node("Identity", ["c"], ["d"]), step],
        "body",
        [
            value("i", TensorProto.INT64, []),
            value("c", TensorProto.BOOL, []),
            value("s", FLOAT, None),
        ],
        [value("d", TensorProto.BOOL, []), value("t", FLOAT, None)],
    )
    weights = [constant("start", np.zeros((1, 3), np.float32)), constant("go", np.array(True))]
    names = ["", "go" if condition else ""]
    if count is not None:
        weights.append(constant("count", np.array(count, np.int64)))
        names[0] = "count"
    return instead(node("Loop", [*names, "start"], ["y"], body=body), weights=weights)


ENDLESS = [
    OnnxCase("endless: 2^62 turns", loop(2**62, None), found="needs more than 1 s", seconds=1),
    OnnxCase("endless: while true", loop(None, True), found="needs more than 1 s", seconds=1),
    OnnxCase("endless: a state that doubles", loop(2**62, None, growing=True)),
]


# Graphs.


def nested(depth: int):
    """Branches in branches."""

    def make(place: Place) -> object:
        inner = helper.make_graph(
            [node("Identity", ["w"], ["b0"])], "b", [], [value("b0", FLOAT, None)]
        )
        for level in range(1, depth):
            choice = node(
                "If",
                ["c"],
                [f"b{level}"],
                then_branch=inner,
                else_branch=inner if level < 3 else small(),
            )
            inner = helper.make_graph([choice], "b", [], [value(f"b{level}", FLOAT, None)])
        weights = [constant("c", np.array(True)), constant("w", np.zeros((1, 3), np.float32))]
        return instead(
            node("If", ["c"], ["y"], then_branch=inner, else_branch=small()), weights=weights
        )(place)

    def small() -> onnx.GraphProto:
        return helper.make_graph(
            [node("Identity", ["w"], ["e"])], "e", [], [value("e", FLOAT, None)]
        )

    return make


def functions_in_functions(depth: int, *, circular: bool = False):
    """Every function calls the next one twice; the last one may call the first."""
    made = []
    for level in range(depth):
        following = f"F{(level + 1) % depth}"
        calls = [
            node(following, ["a"], ["b"], domain="own"),
            node(following, ["b"], ["c"], domain="own"),
        ]
        if level == depth - 1 and not circular:
            calls = [node("Relu", ["a"], ["c"])]
        made.append(helper.make_function("own", f"F{level}", ["a"], ["c"], calls, OWN))
    return instead(
        node("F0", ["x"], ["y"], domain="own"),
        functions=made,
        imports=OWN,
        outputs=[value("y", FLOAT, None)],
    )


def first_node(**fields: object) -> Edit:
    def edit(model: onnx.ModelProto) -> None:
        for name, text in fields.items():
            setattr(model.graph.node[0], name, text)

    return edit


def dims(*sizes: int) -> Edit:
    def edit(model: onnx.ModelProto) -> None:
        tensor = weight(model, "conv1.weight")
        del tensor.dims[:]
        tensor.dims.extend(sizes)

    return edit


def renamed(old: str, new: str) -> Edit:
    """Rename a value everywhere."""

    def edit(model: onnx.ModelProto) -> None:
        for entry in model.graph.node:
            for names in (entry.input, entry.output):
                names[:] = [new if name == old else name for name in names]
        for entry in (*model.graph.input, *model.graph.output):
            entry.name = new if entry.name == old else entry.name

    return edit


def not_unicode(place: Place) -> object:
    make = edited(renamed("input", "inpuX"))
    make(place)
    return place.path.write_bytes(place.path.read_bytes().replace(b"inpuX", b"inpu\xff"))


def filled(number: float) -> Edit:
    def edit(model: onnx.ModelProto) -> None:
        tensor = weight(model, "conv1.weight")
        tensor.CopyFrom(constant(tensor.name, np.full(tuple(tensor.dims), number, np.float32)))

    return edit


def weight_of_type(number: int) -> Edit:
    return lambda model: setattr(weight(model, "conv1.weight"), "data_type", number)


def versions(opset: int | None = None, ir_version: int | None = None) -> Edit:
    def edit(model: onnx.ModelProto) -> None:
        if opset is not None:
            model.opset_import[0].version = opset
        if ir_version is not None:
            model.ir_version = ir_version

    return edit


def two_layers(first: str, second: str) -> list[onnx.NodeProto]:
    return [node("Relu", ["x"], [first]), node("Relu", [second], ["y"])]


ONE = [constant("w", np.zeros((1, 1, 1, 1), np.float32))]
GRAPHS = [
    OnnxCase("graphs: an operator of nobody", edited(first_node(op_type="NoSuchOperator"))),
    OnnxCase("graphs: a domain of nobody", edited(first_node(domain="nobody"))),
    OnnxCase("graphs: an operator with control characters", edited(first_node(op_type="\x1b[2J\x07[red]"))),
    OnnxCase("graphs: IR version 999", edited(versions(ir_version=999))),
    OnnxCase("graphs: operator set 9999", edited(versions(opset=9999))),
    OnnxCase("graphs: operator set -1", edited(versions(opset=-1))),
    OnnxCase("graphs: no operator set", edited(lambda m: m.ClearField("opset_import"))),
    OnnxCase("graphs: an operator set of nobody", edited(lambda m: m.opset_import.append(helper.make_opsetid("nobody", 7))), OK, OK),
    OnnxCase("graphs: a circle", instead(node("Add", ["x", "b"], ["a"]), node("Relu", ["a"], ["b"]), node("Relu", ["b"], ["y"]), outputs=SHAPELESS)),
    OnnxCase("graphs: not in order", edited(lambda m: m.graph.node.sort(key=lambda n: n.output[0])), OK, OK),
    OnnxCase("graphs: two nodes with one output", instead(node("Relu", ["x"], ["y"]), node("Abs", ["x"], ["y"]), outputs=SHAPELESS)),
    OnnxCase("graphs: two weights with one name", edited(lambda m: m.graph.initializer.append(m.graph.initializer[0])), OK, OK),
    OnnxCase("graphs: an input that is not there", edited(renamed("input", "elsewhere"), lambda m: setattr(m.graph.input[0], "name", "input"))),
    OnnxCase("graphs: names that are empty", instead(*two_layers("", ""), outputs=SHAPELESS)),
    OnnxCase("graphs: a name with control characters", edited(renamed("input", "\x1b[2J\n[red]")), OK, OK),
    OnnxCase("graphs: a name that is no Unicode", not_unicode),
    OnnxCase("graphs: a name of a million letters", edited(renamed("input", "x" * 1_000_000)), OK, OK),
    OnnxCase("graphs: 30 branches deep", nested(30), VERIFICATION, OK),
    OnnxCase("graphs: 3,000 branches deep", lambda place: place.path.write_bytes(deep_bytes(3000))),
    OnnxCase("graphs: a function that calls itself", functions_in_functions(1, circular=True)),
    OnnxCase("graphs: functions in a circle", functions_in_functions(3, circular=True)),
    OnnxCase("graphs: 2^40 calls of functions", functions_in_functions(40), seconds=1),
    OnnxCase("graphs: 5,000 nodes in a row", instead(*[node("Relu", [f"v{i}" if i else "x"], [f"v{i + 1}"]) for i in range(5_000)], node("Identity", ["v5000"], ["y"]), outputs=SHAPELESS), VERIFICATION, OK),
    OnnxCase("graphs: a group of 0", instead(node("Conv", ["x", "w"], ["y"], group=0), weights=ONE, outputs=SHAPELESS)),
    OnnxCase("graphs: a stride of 0", instead(node("MaxPool", ["x"], ["y"], kernel_shape=[2, 2], strides=[0, 0]), outputs=SHAPELESS)),
    OnnxCase("graphs: a kernel of -1", instead(node("AveragePool", ["x"], ["y"], kernel_shape=[-1, -1]), outputs=SHAPELESS)),
    OnnxCase("graphs: an axis of 2^40", instead(node("Softmax", ["x"], ["y"], axis=2**40), outputs=SHAPELESS), VERIFICATION, OK),
    OnnxCase("graphs: a division by 0", instead(node("Cast", ["x"], ["i"], to=7), node("Div", ["i", "z"], ["d"]), node("Cast", ["d"], ["y"], to=1), weights=[constant("z", np.array(0, np.int64))], outputs=SHAPELESS)),
    OnnxCase("graphs: an index of 10^9", instead(node("Gather", ["x", "i"], ["y"]), weights=[constant("i", np.array([10**9], np.int64))], outputs=SHAPELESS)),
    OnnxCase("graphs: weights of 10^15 numbers", edited(dims(10**5, 10**5, 10**5))),
    OnnxCase("graphs: weights of 2^64 numbers", edited(dims(2**32, 2**32))),
    OnnxCase("graphs: weights of -36 numbers", edited(dims(-4, 1, 3, 3))),
    OnnxCase("graphs: weights of type 999", edited(weight_of_type(999))),
    OnnxCase("graphs: weights without a type", edited(weight_of_type(0))),
    OnnxCase("graphs: weights that are texts", edited(weight_of_type(8))),
    OnnxCase("graphs: weights in 4 bits", edited(weight_of_type(22))),
    OnnxCase("graphs: weights in 8 bits", edited(weight_of_type(17))),
    OnnxCase("graphs: weights that are NaN", edited(filled(np.nan)), VERIFICATION, OK),
    OnnxCase("graphs: weights that are infinite", edited(filled(np.inf)), VERIFICATION, OK),
]  # fmt: skip


def deep_bytes(depth: int) -> bytes:
    """A graph in an attribute of a node in a graph, so deep that nothing here can build it."""
    inner = b""
    for _ in range(depth):
        for tag in (b"\x32", b"\x2a", b"\x0a"):  # graph of an attribute, of a node, of a graph
            inner = tag + varint(len(inner)) + inner
    return b"\x08\x08\x3a" + varint(len(inner)) + inner


def varint(number: int) -> bytes:
    found = bytearray()
    while number > 127:
        found.append(number & 127 | 128)
        number >>= 7
    return bytes([*found, number])
