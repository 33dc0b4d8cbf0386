"""A file has the oldest format version that it may have, or the one that is asked for."""

from __future__ import annotations

from pathlib import Path

import onnx
import onnx_ir as ir
import pytest
import torch
from helpers import TinyNetwork, tiny_network
from torch import nn
from typer.testing import CliRunner

from ssn_prune import ConvertOptions, ExportOptions, convert, export_onnx, load_checkpoint, prune
from ssn_prune.cli.app import app
from ssn_prune.errors import ArgumentError
from ssn_prune.onnx_export.ir_version import oldest_ir_version, require_ir_version

X = torch.zeros(2, 1, 8, 8)
# The table of releases in ONNX's docs/Versioning.md.
OF_OPSETS = {13: 7, 14: 7, 15: 8, 16: 8, 17: 8, 18: 8, 19: 9, 20: 9, 21: 10, 22: 10}


@pytest.fixture(scope="module")
def pruned() -> nn.Module:
    return prune(tiny_network(), X).model


def model_of(*values: ir.Value, opset: int = 18) -> ir.Model:
    graph = ir.Graph(values, values, nodes=[], opset_imports={"": opset}, name="g")
    return ir.Model(graph, ir_version=14)


@pytest.mark.parametrize("opset", OF_OPSETS)
def test_the_version_is_that_of_the_operator_set(opset: int) -> None:
    value = ir.Value(name="x", type=ir.TensorType(ir.DataType.FLOAT))
    assert oldest_ir_version(model_of(value, opset=opset)) == OF_OPSETS[opset]


@pytest.mark.parametrize(
    ("kind", "expected"),
    [
        (ir.TensorType(ir.DataType.BFLOAT16), 8),
        (ir.TensorType(ir.DataType.FLOAT8E5M2), 9),
        (ir.TensorType(ir.DataType.INT4), 10),
        (ir.SequenceType(ir.TensorType(ir.DataType.UINT2)), 13),
    ],
)
def test_a_type_may_need_a_newer_one(kind: ir.TypeProtocol, expected: int) -> None:
    assert oldest_ir_version(model_of(ir.Value(name="x", type=kind))) == expected


def test_functions_and_optional_values_need_version_8() -> None:
    tensor = ir.TensorType(ir.DataType.FLOAT)
    optional = model_of(ir.Value(name="x", type=ir.OptionalType(tensor)), opset=13)
    function = model_of(ir.Value(name="x", type=tensor), opset=13)
    assert oldest_ir_version(function) == 7
    body = ir.Graph([], [], nodes=[], opset_imports={"": 13})
    added = ir.Function("own", "F", graph=body, attributes=[])
    function.functions[added.identifier()] = added
    assert oldest_ir_version(optional) == oldest_ir_version(function) == 8


def test_a_type_inside_a_branch_counts() -> None:
    inner = ir.Value(name="y", type=ir.TensorType(ir.DataType.INT4))
    branch = ir.Graph([], [inner], nodes=[], initializers=[inner], name="b")
    branch.initializers["y"].const_value = ir.tensor([1], dtype=ir.DataType.INT4, name="y")
    condition = ir.Value(name="c", type=ir.TensorType(ir.DataType.BOOL))
    node = ir.node("If", [condition], attributes={"then_branch": branch, "else_branch": branch})
    graph = ir.Graph([condition], node.outputs, nodes=[node], opset_imports={"": 18}, name="g")
    assert oldest_ir_version(ir.Model(graph, ir_version=8)) == 10


@pytest.mark.parametrize(("asked", "found"), [(None, 8), (10, 10)])
def test_the_file_has_it(pruned: nn.Module, asked: int | None, found: int, tmp_path: Path) -> None:
    stats = export_onnx(pruned, X, tmp_path / "m.onnx", options=ExportOptions(ir_version=asked))
    assert stats.ir_version == onnx.load(tmp_path / "m.onnx").ir_version == found


@pytest.mark.parametrize("asked", [2, 3, 7, onnx.IR_VERSION + 1])
def test_another_one_is_refused_before_anything_is_done(asked: int, tmp_path: Path) -> None:
    torch.save({"state_dict": tiny_network().state_dict()}, tmp_path / "net.pth")
    loaded = load_checkpoint(tmp_path / "net.pth", arch="helpers:TinyNetwork")
    steps: list[str] = []
    with pytest.raises(ArgumentError, match=f"8 to {onnx.IR_VERSION}: operator set 18") as error:
        convert(
            loaded,
            tmp_path / "m.onnx",
            ConvertOptions(ir_version=asked),
            progress=steps.append,
        )
    assert "`ir_version=`" in error.value.details()["try"]
    assert not steps
    with pytest.raises(ArgumentError, match="format version"):
        export_onnx(TinyNetwork(), X, tmp_path / "m.onnx", options=ExportOptions(ir_version=asked))
    assert not (tmp_path / "m.onnx").exists()


def test_the_content_is_named_where_it_needs_more() -> None:
    require_ir_version(None, 10, "what the graph contains")
    require_ir_version(10, 10, "what the graph contains")
    with pytest.raises(ArgumentError, match="what the graph contains needs 10"):
        require_ir_version(9, 10, "what the graph contains")


@pytest.mark.parametrize("asked", ["2", "99"])
def test_the_command_names_the_range(asked: str, tmp_path: Path) -> None:
    torch.save({"state_dict": tiny_network().state_dict()}, tmp_path / "net.pth")
    command = ["convert", str(tmp_path / "net.pth"), "--arch", "helpers:TinyNetwork"]
    result = CliRunner().invoke(app, [*command, "--ir-version", asked])
    assert result.exit_code == 2
    assert f"expected: 8 to {onnx.IR_VERSION}" in result.stderr
    assert f"found: --ir-version {asked}" in result.stderr
    assert "leave --ir-version out" in result.stderr
    assert "Traceback" not in result.stderr
