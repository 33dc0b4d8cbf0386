"""How a file was exported, read from the file."""

from __future__ import annotations

import onnx
import pytest
from onnx import helper

from ssn_prune.runtime.file_options import FileOptions, options_of


def model_of(*shapes: list[int | str], opset: int = 18, ir_version: int = 8) -> onnx.ModelProto:
    inputs = [helper.make_tensor_value_info(f"x{i}", 1, shape) for i, shape in enumerate(shapes)]
    output = helper.make_tensor_value_info("y", 1, None)
    node = helper.make_node("Sum", [value.name for value in inputs], ["y"])
    graph = helper.make_graph([node], "g", inputs, [output])
    imports = [helper.make_opsetid("com.microsoft", 1), helper.make_opsetid("", opset)]
    return helper.make_model(graph, opset_imports=imports, ir_version=ir_version)


@pytest.mark.parametrize(
    ("shapes", "dynamic"),
    [
        ([[1, 3, 8]], "none"),
        ([[]], "none"),
        ([["batch", 3, 8]], "batch"),
        ([[1, 3], ["batch", 3]], "batch"),
        ([["batch", 3, "width"]], "spatial"),
        ([[3, "height", "width"]], "spatial"),
    ],
)
def test_open_sizes(shapes: list[list[int | str]], dynamic: str) -> None:
    assert options_of(model_of(*shapes)) == FileOptions(18, 8, dynamic)


def test_versions() -> None:
    found = options_of(model_of([1], opset=20, ir_version=9))
    assert (found.opset, found.ir_version) == (20, 9)
