"""Files in every operator set: valid, and with the answers of the file in operator set 18."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import onnx
import onnx_ir as ir
import onnxruntime
import pytest
import torch
from helpers import TinyNetwork, tiny_network
from networks import BN, IN, trained_layer
from torch import Tensor, nn
from torch.nn import functional
from typer.testing import CliRunner

from ssn_prune import ExportOptions, export_onnx, prune
from ssn_prune.cli.app import app
from ssn_prune.errors import ArgumentError
from ssn_prune.normalizer import ALL_PAIRS, NormalizerPair
from ssn_prune.onnx_export import translate as translate_module
from ssn_prune.onnx_export.names import clean
from ssn_prune.onnx_export.opsets.lower import lower
from ssn_prune.onnx_export.options import Dynamic
from ssn_prune.runtime.stored_metadata import LAYER_VALUES_KEY

X = 1 + torch.randn(2, 3, 9, 10, generator=torch.Generator().manual_seed(0))


def graph_of(pruned: nn.Module, x: Tensor, dynamic: Dynamic, path: Path) -> ir.Model:
    """The graph in operator set 18, with the exporter's notes, of the file that is written."""
    found: list[onnx.ModelProto] = []
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(translate_module, "lower", lambda graph, _: found.append(ir.to_proto(graph)))
        export_onnx(pruned, x, path, options=ExportOptions(dynamic=dynamic))
    return ir.from_proto(found[0])


def answers(model: Path | onnx.ModelProto, *inputs: Tensor) -> list[np.ndarray]:
    """All outputs for all inputs."""
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    data = model.read_bytes() if isinstance(model, Path) else model.SerializeToString()
    session = onnxruntime.InferenceSession(data, options, providers=["CPUExecutionProvider"])
    return [value for x in inputs for value in session.run(None, {"input": x.numpy()})]


def in_opset(graph: ir.Model, opset: int) -> onnx.ModelProto:
    lowered = ir.from_proto(ir.to_proto(graph))
    lower(lowered, opset)
    clean(lowered)
    model = ir.to_proto(lowered)
    onnx.checker.check_model(model, full_check=True)
    assert [(entry.domain, entry.version) for entry in model.opset_import] == [("", opset)]
    return model


class EveryLayer(nn.Module):
    """All pairs side by side, each with one correction or with several."""

    def __init__(self, *corrections: tuple[int, ...]) -> None:
        super().__init__()
        self.layers = nn.ModuleList(
            trained_layer(3, pair, seed, correction=correction)
            for seed, pair in enumerate(ALL_PAIRS)
            for correction in corrections[seed % len(corrections)]
        )

    def forward(self, x: Tensor) -> list[Tensor]:
        return [torch.relu(layer(x)) for layer in self.layers]


# With fixed sizes the correction is in the constants: the operators are the same.
CORRECTIONS = {"none": ((0,), (1,)), "batch": ((1,), (0,)), "spatial": ((0, 1),)}


@pytest.mark.parametrize("dynamic", ["none", "batch", "spatial"])
def test_every_pair_gives_the_same_bits(dynamic: Dynamic, tmp_path: Path) -> None:
    x = X[:1] if dynamic == "none" else X
    network = EveryLayer(*CORRECTIONS[dynamic]).eval()
    pruned = prune(network, x, any_size=dynamic == "spatial").model
    others = {"none": [x], "batch": [x, x[:1]], "spatial": [x, x[:1, :, :7]]}[dynamic]
    graph = graph_of(pruned, x, dynamic, tmp_path / "m.onnx")
    expected = answers(tmp_path / "m.onnx", *others)
    assert len(expected) == len(network.layers) * len(others)
    for opset in (13, 14, 15, 17):
        found = answers(in_opset(graph, opset), *others)
        for value, wanted in zip(found, expected, strict=True):
            np.testing.assert_array_equal(value, wanted)


class Blocks(nn.Module):
    """A block with hard activations and squeeze and excitation, and a branch that is resized."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.conv, self.norm = nn.Conv2d(3, 4, 3), trained_layer(4, NormalizerPair(IN, IN))
        self.squeeze, self.excite = nn.Conv2d(4, 2, 1), nn.Conv2d(2, 4, 1)
        self.branch, self.branch_norm = (
            nn.Conv2d(4, 4, 3, stride=2),
            trained_layer(4, NormalizerPair(BN, IN)),
        )
        self.linear = nn.Linear(4, 2)

    def forward(self, x: Tensor) -> tuple[Tensor, ...]:
        y = functional.hardswish(self.norm(self.conv(x)))
        gate = self.excite(torch.relu(self.squeeze(y.mean((2, 3), keepdim=True))))
        y = y * functional.hardsigmoid(gate)
        small = functional.mish(self.branch_norm(self.branch(y)))
        large = functional.interpolate(small, y.shape[-2:], mode="bilinear", align_corners=False)
        first, second = torch.cat([y, large], 1).chunk(2, 1)
        pooled = functional.adaptive_max_pool2d(first + second, 1).view(x.shape[0], -1)
        return y, large, self.linear(pooled)


def test_what_is_around_the_layers_is_respelled_too(tmp_path: Path) -> None:
    x = torch.randn(2, 3, 12, 14)
    path = tmp_path / "m.onnx"
    graph = graph_of(prune(Blocks().eval(), x, any_size=True).model, x, "spatial", path)
    kinds = {node.op_type for node in graph.graph}
    assert {"HardSwish", "Mish", "Resize", "Shape", "Reshape", "ReduceMax"} <= kinds
    inputs = x, torch.randn(3, 3, 17, 11)
    expected = answers(path, *inputs)
    for opset in range(13, 18):
        model = in_opset(graph, opset)
        assert ("HardSwish" in {node.op_type for node in model.graph.node}) == (opset >= 14)
        for value, wanted in zip(answers(model, *inputs), expected, strict=True):
            np.testing.assert_allclose(value, wanted, rtol=0, atol=1e-6 * np.abs(wanted).max())


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("opsets") / "net.pth"
    torch.save({"state_dict": tiny_network().state_dict()}, path)
    return path


def convert(*arguments: str | Path, arch: str = "helpers:TinyNetwork"):
    command = ["convert", *map(str, arguments), "--arch", arch]
    return CliRunner().invoke(app, command)


def test_a_conversion_to_an_older_one_is_verified_and_finds_its_layers(
    checkpoint: Path, tmp_path: Path
) -> None:
    target = tmp_path / "m.onnx"
    result = convert(checkpoint, "--opset", "13", "--json", "-o", target)
    assert result.exit_code == 0, result.output
    report = json.loads(result.stdout)
    assert (report["onnx"]["opset"], report["onnx"]["ir_version"]) == (13, 7)
    assert report["verification"]["rounding"]["passed"]
    model = onnx.load(target)
    onnx.checker.check_model(model, full_check=True)
    stored = {entry.key: entry.value for entry in model.metadata_props}
    values = json.loads(stored[LAYER_VALUES_KEY])
    made = {name for node in model.graph.node for name in node.output}
    assert set(values) == {"sn1", "sn2"}
    assert set(values.values()) <= made


@pytest.mark.parametrize("opset", [20, 21])
def test_newer_ones(opset: int, tmp_path: Path) -> None:
    network, x = tiny_network(), torch.randn(2, 1, 8, 8)
    path = tmp_path / "m.onnx"
    stats = export_onnx(prune(network, x).model, x, path, options=ExportOptions(opset=opset))
    onnx.checker.check_model(path, full_check=True)
    assert [entry.version for entry in onnx.load(path).opset_import] == [opset]
    assert (stats.opset, stats.ir_version) == (opset, 10 if opset == 21 else 9)
    with torch.no_grad():
        expected = network.double()(x.double()).numpy()
    np.testing.assert_allclose(answers(path, x)[0], expected, rtol=0, atol=1e-6)


@pytest.mark.parametrize("opset", ["12", "22", "-1"])
def test_the_range_is_named(opset: str, checkpoint: Path, tmp_path: Path) -> None:
    result = convert(checkpoint, "--opset", opset, "-o", tmp_path / "m.onnx")
    assert result.exit_code == 2
    assert "expected: 13 to 21" in result.stderr
    assert f"found: --opset {opset}" in result.stderr
    assert "pass --opset 18" in result.stderr
    options = ExportOptions(opset=int(opset))
    with pytest.raises(ArgumentError, match="13 to 21"):
        export_onnx(TinyNetwork(), torch.zeros(2, 1, 8, 8), tmp_path / "m.onnx", options=options)
    assert not list(tmp_path.iterdir())
