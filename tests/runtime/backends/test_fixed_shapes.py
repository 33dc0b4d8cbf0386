"""A copy with fixed shapes: the same answers at those shapes, and no others taken."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import helper, numpy_helper

from ssn_prune.errors import ArgumentError
from ssn_prune.runtime.backends.fixed_shapes import write_fixed_shapes

WEIGHT = np.arange(12, dtype=np.float32).reshape(3, 4)


@pytest.fixture
def file(tmp_path: Path) -> Path:
    """A product whose weight is listed as an input, too, as old files have it."""
    values = [
        helper.make_tensor_value_info(name, 1, shape)
        for name, shape in (("x", ["batch", 3]), ("w", [3, 4]), ("y", ["batch", 4]))
    ]
    node = helper.make_node("MatMul", ["x", "w"], ["y"])
    weight = numpy_helper.from_array(WEIGHT, "w")
    graph = helper.make_graph([node], "g", values[:2], values[2:], [weight])
    opset = [helper.make_opsetid("", 18)]
    onnx.save(helper.make_model(graph, opset_imports=opset, ir_version=8), tmp_path / "m.onnx")
    return tmp_path / "m.onnx"


def shapes_of(values) -> list[list[int | str]]:
    dims = [value.type.tensor_type.shape.dim for value in values]
    return [[dim.dim_param or dim.dim_value for dim in shape] for shape in dims]


@pytest.mark.parametrize("external", [False, True])
def test_a_copy_has_the_given_shapes_and_the_weights(
    file: Path, tmp_path: Path, external: bool
) -> None:
    if external:
        model = onnx.load(file)
        onnx.save(model, file, save_as_external_data=True, location="w.data", size_threshold=0)
    before = file.read_bytes()
    folder = tmp_path / "fixed"
    folder.mkdir()
    written = write_fixed_shapes(file, [(2, 3)], folder)
    found = onnx.load(written)
    assert written == folder / "m.onnx"
    assert shapes_of(found.graph.input) == [[2, 3], [3, 4]]
    assert shapes_of(found.graph.output) == [[2, 4]]
    np.testing.assert_array_equal(numpy_helper.to_array(found.graph.initializer[0]), WEIGHT)
    onnx.checker.check_model(found, full_check=True)
    assert file.read_bytes() == before


@pytest.mark.parametrize("shapes", [[], [(2, 4)], [(2, 3, 1)], [(2, 3), (3, 4)]])
def test_shapes_that_the_file_does_not_take_are_refused(
    file: Path, tmp_path: Path, shapes: list[tuple[int, ...]]
) -> None:
    with pytest.raises(ArgumentError, match=r"m\.onnx does not take these inputs"):
        write_fixed_shapes(file, shapes, tmp_path)


def test_a_size_with_one_name_has_one_value(file: Path, tmp_path: Path) -> None:
    model = onnx.load(file)
    model.graph.input.append(helper.make_tensor_value_info("z", 1, ["batch"]))
    onnx.save(model, file)
    with pytest.raises(ArgumentError):
        write_fixed_shapes(file, [(2, 3), (3,)], tmp_path)
