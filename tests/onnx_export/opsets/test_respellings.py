"""Every row of the table of older spellings, against the same graph in operator set 18."""

from __future__ import annotations

import re
from collections.abc import Mapping

import numpy as np
import onnx
import onnx_ir as ir
import onnxruntime
import pytest
from hypothesis import given
from hypothesis import strategies as st
from onnx import parser
from onnx.defs import get_all_schemas, get_schema

from ssn_prune.errors import ExportError
from ssn_prune.onnx_export.opsets.axes_as_attribute import OPERATORS
from ssn_prune.onnx_export.opsets.lower import lower
from ssn_prune.onnx_export.opsets.table import IMPLIED, NEW_VALUES, RESPELLINGS

Arrays = Mapping[str, np.ndarray]
X = np.random.default_rng(0).standard_normal((2, 3, 4, 5)).astype(np.float32) + 0.5


def model_of(body: str, signature: str = "(float[n, 3, 4, 5] x) => (y)") -> onnx.ModelProto:
    """A graph of operator set 18, with the types of all values."""
    text = f'<ir_version: 8, opset_import: ["" : 18]> g {signature} {{ {body} }}'
    parsed = parser.parse_model(text)
    model = onnx.shape_inference.infer_shapes(parsed, strict_mode=True, data_prop=True)
    onnx.checker.check_model(model, full_check=True)
    return model


def lowered(model: onnx.ModelProto, opset: int) -> onnx.ModelProto:
    graph = ir.from_proto(model)
    lower(graph, opset)
    found = ir.to_proto(graph)
    onnx.checker.check_model(found, full_check=True)
    assert [entry.version for entry in found.opset_import] == [opset]
    assert [value.name for value in found.graph.output] == [v.name for v in model.graph.output]
    return found


def run(model: onnx.ModelProto, **arrays: np.ndarray) -> list[np.ndarray]:
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    data = model.SerializeToString()
    session = onnxruntime.InferenceSession(data, options, providers=["CPUExecutionProvider"])
    return session.run(None, arrays)


def assert_same(model: onnx.ModelProto, opset: int, **arrays: np.ndarray) -> onnx.ModelProto:
    found = lowered(model, opset)
    for value, expected in zip(run(found, **arrays), run(model, **arrays), strict=True):
        assert value.dtype == expected.dtype
        np.testing.assert_array_equal(value, expected)
    return found


def kinds(model: onnx.ModelProto) -> list[str]:
    return [node.op_type for node in model.graph.node]


@pytest.mark.parametrize("operator", OPERATORS)
@pytest.mark.parametrize(
    ("axes", "attributes"),
    [
        ("{1}", "keepdims=1"),
        ("{-1, 2}", "keepdims=0, noop_with_empty_axes=1"),
        ("", "noop_with_empty_axes=0"),
    ],
)
def test_axes_become_an_attribute(operator: str, axes: str, attributes: str) -> None:
    constant = f"a = Constant<value = int64[{axes.count(',') + 1}] {axes}>()" if axes else ""
    inputs = "p, a" if axes else "p"
    model = model_of(f"p = Abs(x) {constant} y = {operator}<{attributes}>({inputs})")
    found = assert_same(model, 13, x=X)
    assert kinds(found) == ["Abs", operator]
    assert len(found.graph.node[1].input) == 1


def test_a_sum_keeps_its_axes_as_an_input() -> None:
    model = model_of("a = Constant<value = int64[1] {1}>() y = ReduceSum(x, a)")
    assert len(assert_same(model, 13, x=X).graph.node[-1].input) == 2


def test_operators_in_a_branch_are_respelled() -> None:
    bodies = {
        "then": "a = Constant<value = int64[1] {1}>() then_y = ReduceMax(x, a)",
        "else": "h = HardSwish(x1) s = Shape<end=1>(x) f = Cast<to=1>(s) else_y = Add(h, f)",
    }
    branches = [
        f"{name}_branch = {name} () => (float[n, 1, 4, 5] {name}_y) {{ {body} }}"
        for name, body in bodies.items()
    ]
    signature = "(bool c, float[n, 3, 4, 5] x, float[n, 1, 4, 5] x1) => (float[n, 1, 4, 5] y)"
    model = model_of(f"y = If(c) <{', '.join(branches)}>", signature)
    for condition in (True, False):
        assert_same(model, 13, c=np.array(condition), x=X, x1=X[:, :1])


@given(
    rank=st.integers(1, 4),
    start=st.none() | st.integers(-6, 6),
    end=st.none() | st.integers(-6, 6),
    opset=st.sampled_from((13, 14)),
)
def test_a_range_of_a_shape(rank: int, start: int | None, end: int | None, opset: int) -> None:
    attributes = [f"{k}={v}" for k, v in (("start", start), ("end", end)) if v is not None]
    dims = ", ".join("nabc"[:rank])
    given_ = f"<{', '.join(attributes)}>" if attributes else ""
    model = model_of(f"y = Shape{given_}(x)", f"(float[{dims}] x) => (int64[k] y)")
    x = np.zeros((2, 3, 4, 5)[:rank], np.float32)
    found = lowered(model, opset)
    assert not any(a.name in ("start", "end") for n in found.graph.node for a in n.attribute)
    (sizes,) = run(found, x=x)
    assert sizes.dtype == np.int64
    assert sizes.tolist() == list(x.shape[start:end])
    assert kinds(assert_same(model, 15, x=x)) == ["Shape"]


@given(size=st.integers(1, 12), count=st.integers(1, 5), axis=st.sampled_from((1, -1)))
def test_a_number_of_parts(size: int, count: int, axis: int) -> None:
    if -(-size // count) * (count - 1) >= size:
        count = 1  # the last part may not be empty
    names = ", ".join(f"y{index}" for index in range(count))
    model = model_of(
        f"{names} = Split<axis={axis}, num_outputs={count}>(x)",
        f"(float[n, {size}] x) => ({names})",
    )
    assert_same(model, 13, x=np.arange(2.0 * size, dtype=np.float32).reshape(2, size))


@pytest.mark.parametrize(
    ("operator", "opset", "reference"),
    [
        ("HardSwish", 13, lambda x: x * np.clip(x / 6 + 0.5, 0, 1)),
        ("Mish", 17, lambda x: x * np.tanh(np.log1p(np.exp(x)))),
    ],
)
def test_activations(operator: str, opset: int, reference) -> None:
    x = np.linspace(-8, 8, 999, dtype=np.float32)
    model = model_of(f"y = {operator}(x)", "(float[n] x) => (float[n] y)")
    found = lowered(model, opset)
    assert operator not in kinds(found)
    expected = reference(x.astype(np.float64))
    np.testing.assert_allclose(run(found, x=x)[0], expected, rtol=3e-7, atol=1e-6)
    assert kinds(lowered(model, opset + 1)) == [operator]


@given(
    before=st.tuples(*[st.integers(0, 3)] * 2),
    after=st.tuples(*[st.integers(0, 3)] * 2),
    some=st.booleans(),
    opset=st.sampled_from((13, 18)),
)
def test_circular_padding(
    before: tuple[int, int], after: tuple[int, int], some: bool, opset: int
) -> None:
    given_ = [*before, *after] if some else [0, 0, *before, 0, 0, *after]
    numbers = ", ".join(map(str, given_))
    body = f"p = Constant<value = int64[{len(given_)}] {{{numbers}}}>() "
    axes = "a = Constant<value = int64[2] {-2, 3}>() " if some else ""
    inputs = "x, p, , a" if some else "x, p"
    text = f'{body}{axes}y = Pad<mode="wrap">({inputs})'
    graph = parser.parse_model(
        f'<ir_version: 8, opset_import: ["" : 18]> g (float[n, 3, 4, 5] x) => (y) {{ {text} }}'
    )
    found = lowered(onnx.shape_inference.infer_shapes(graph, data_prop=True), opset)
    assert "Pad" not in kinds(found)
    expected = np.pad(X, ((0, 0), (0, 0), *zip(before, after, strict=True)), mode="wrap")
    np.testing.assert_array_equal(run(found, x=X)[0], expected)


def test_a_cast_to_the_type_of_another_value() -> None:
    model = model_of("y = CastLike(x, i)", "(float[n] x, int64[1] i) => (int64[n] y)")
    found = assert_same(model, 14, x=np.float32([1.5, -2.5]), i=np.int64([0]))
    assert kinds(found) == ["Cast"]


@pytest.mark.parametrize(
    "body",
    [
        "s = Constant<value = int64[2] {-1, 12}>() y = Reshape<allowzero=1>(x, s)",
        "s = Shape(x) y = Reshape<allowzero=1>(x, s)",
        "s = Constant<value = int64[2] {0, -1}>() y = Reshape<allowzero=0>(x, s)",
        "s = Constant<value = float[4] {1.0, 1.0, 1.7, 2.5}>() "
        'y = Resize<mode="linear", antialias=0, keep_aspect_ratio_policy="stretch">(x, , s)',
        "s = Constant<value = int64[4] {2, 3, 9, 2}>() "
        'y = Resize<mode="nearest", nearest_mode="floor">(x, , , s)',
        "b = Constant<value = float[3] {1.0, 2.0, 3.0}>() "
        "y = BatchNormalization<training_mode=0>(x, b, b, b, b)",
        "b = Constant<value = float[1, 3, 1, 1] {7.0, 8.0, 9.0}>() "
        "i = Constant<value = int64[1, 3, 1, 1] {0, 0, 1}>() "
        'y = ScatterElements<axis=0, reduction="none">(x, i, b)',
    ],
)
def test_attributes_that_say_nothing_go(body: str) -> None:
    assert_same(model_of(body), 13, x=X)


REFUSED = [
    ("y = LayerNormalization(x, s)", 13, 17, "operator LayerNormalization"),
    ("y = BitwiseNot(i)", 17, 18, "operator BitwiseNot"),
    ("m = ReduceMax(x, i) y = Size(m)", 13, 18, "input axes of ReduceMax"),
    ("p = Shape(q) m = Pad(x, p, , i) y = Size(m)", 13, 18, "input axes of Pad"),
    ("y = Reshape<allowzero=1>(e, z)", 13, 14, "allowzero 1 of Reshape"),
    ('y = Resize<mode="linear", antialias=1>(x, , k)', 13, 18, "antialias 1 of Resize"),
    ("y = Resize<axes=[0, 1, 2, 3]>(x, , k)", 17, 18, "axes (0, 1, 2, 3) of Resize"),
    ('y = ScatterElements<reduction="add">(x, j, x)', 15, 16, "reduction add of ScatterElements"),
    ('y = ScatterElements<reduction="max">(x, j, x)', 13, 18, "reduction max of ScatterElements"),
    ('y = ScatterElements<reduction="max">(x, j, x)', 17, 18, "reduction max of ScatterElements"),
    ("y = RoiAlign(x, r, i)", 15, 16, "coordinate_transformation_mode half_pixel of RoiAlign"),
    ("y, w = Split<axis=0, num_outputs=2>(x)", 13, 18, "num_outputs 2 of Split"),
    ("h = Cast<to=16>(x) c = Cast<to=9>(x) y = Where(c, h, h)", 13, 16, "type bfloat16 of Where"),
]
SIGNATURE = (
    "(float[n, 3, 4, 5] x, float[5] s, int64[k] i, int64[n, 3, 4, 5] j, float[k, 4] r, "
    "float[0, 7] e, float[1] q) => (y)"
)
CONSTANTS = (
    "k = Constant<value = float[4] {1.0, 1.0, 0.5, 0.5}>() "
    "z = Constant<value = int64[2] {0, 60}>() "
)


@pytest.mark.parametrize(("body", "opset", "first", "words"), REFUSED)
def test_what_is_lacking_is_refused_by_name(body: str, opset: int, first: int, words: str) -> None:
    model = model_of(CONSTANTS + body, SIGNATURE)
    with pytest.raises(ExportError) as error:
        lowered(model, opset)
    assert f"{words} in the network itself" in error.value.details()["found"]
    assert f"pass `opset={first}`, the oldest" in error.value.details()["try"]
    onnx.checker.check_model(lowered(model, first), full_check=True)
    with pytest.raises(ExportError, match=re.escape(words)):
        lowered(model, first - 1)


def test_a_value_that_is_newer_than_operator_set_18() -> None:
    model = model_of('p = Shape(x) y = Pad<mode="wrap">(x, p)', "(float[n] x) => (float[k] y)")
    with pytest.raises(ExportError, match=r"mode wrap of Pad[^`]*`opset=19`"):
        lowered(model, 17)


def test_all_that_is_lacking_is_named_with_the_operator_set_that_has_it() -> None:
    body = "z = GridSample(x, f) t = Trilu(z) y = LayerNormalization(t, s)"
    model = model_of(body, "(float[2, 3, 4, 5] x, float[2, 4, 5, 2] f, float[5] s) => (y)")
    for opset, first in ((13, 17), (16, 17)):
        with pytest.raises(ExportError) as error:
            lowered(model, opset)
        found = error.value.details()["found"]
        assert ("GridSample" in found) == ("Trilu" in found) == (opset == 13)
        assert "LayerNormalization" in found
        assert f"`opset={first}`" in error.value.details()["try"]


def test_operators_of_the_user_s_own_domain_are_left_alone() -> None:
    node = ir.node("HardSwish", [ir.Value(name="x")], domain="own", attributes={"start": 1})
    graph = ir.Graph(
        node.inputs, node.outputs, nodes=[node], opset_imports={"": 18, "own": 1}, name="g"
    )
    lower(ir.Model(graph, ir_version=8), 13)
    assert (graph.node(0).domain, graph.node(0).op_type) == ("own", "HardSwish")


def test_nothing_is_done_without_a_need() -> None:
    model = ir.from_proto(model_of("y = HardSwish(x)"))
    before = ir.to_proto(model).SerializeToString()
    for opset in (18, 19, 21):
        lower(model, opset)
    assert ir.to_proto(model).SerializeToString() == before


def test_the_tables_are_about_what_onnx_changed() -> None:
    """Every attribute that came after operator set 13 has a row, or is refused wherever it is."""
    added = set()
    for name in {schema.name for schema in get_all_schemas()}:
        try:
            old, new = get_schema(name, 13), get_schema(name, 18)
        except onnx.defs.SchemaError:
            continue
        added |= {(name, attribute) for attribute in set(new.attributes) - set(old.attributes)}
    refused = {
        ("LpPool", "ceil_mode"),
        ("LpPool", "dilations"),
        ("Resize", "axes"),
        ("Shape", "end"),
        ("Split", "num_outputs"),
    }
    assert set(IMPLIED) == added - refused
    for operator, attribute in NEW_VALUES:
        assert attribute in get_schema(operator, 18).attributes
    for entry in RESPELLINGS:
        for operator in entry.operators:
            assert get_schema(operator, 21).since_version >= entry.since
