"""Exports with open, fixed and several inputs, verified at several sizes."""

from __future__ import annotations

import json
import re
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from helpers import TinyNetwork, one_hot_gates, randomize, reference_layout
from networks import ALL_PAIRS, IN, LN, Lambda, relative_error, trained_layer
from torch import Tensor, nn
from typer.testing import CliRunner, Result

from ssn_prune import (
    ConvertOptions,
    ExportOptions,
    SSN1d,
    SSN3d,
    convert,
    export_onnx,
    load_checkpoint,
    prune,
)
from ssn_prune.cli.app import app
from ssn_prune.errors import ArgumentError, ExportError
from ssn_prune.normalizer import NormalizerPair


class FixedSize(TinyNetwork):
    """Its head flattens, so only 8x8 inputs fit."""

    def __init__(self) -> None:
        super().__init__()
        self.fc = nn.Linear(4 * 64, 3)

    def forward(self, x: Tensor) -> Tensor:
        return self.fc(self.sn2(self.conv2(torch.relu(self.sn1(self.conv1(x))))).flatten(1))


class TwoInputs(nn.Module):
    """An image and a vector; several named outputs."""

    def __init__(self) -> None:
        super().__init__()
        self.conv, self.norm = nn.Conv2d(3, 4, 3), trained_layer(4, NormalizerPair(IN, IN))
        self.linear, self.vector_norm = nn.Linear(5, 4), SSN1d(4)
        one_hot_gates(self.vector_norm, 1, 2)

    def forward(self, image: Tensor, vector: Tensor) -> dict[str, Tensor | tuple[Tensor, ...]]:
        y = self.norm(self.conv(image)).mean((2, 3))
        z = self.vector_norm(self.linear(vector))
        return {"sum": y + z, "parts": (y, z)}


def save(path: Path, model: nn.Module) -> Path:
    torch.save({"state_dict": model.state_dict()}, path)
    return path


def finished(model: nn.Module, pair: tuple[int, int] = (0, 0)) -> nn.Module:
    randomize(model)
    for layer in (model.sn1, model.sn2):
        one_hot_gates(layer, *pair)
    return model


def run(*arguments: object) -> Result:
    return CliRunner().invoke(app, [str(argument) for argument in arguments])


@pytest.mark.parametrize("pair", ALL_PAIRS, ids=str)
@pytest.mark.parametrize("correction", [0, 1])
def test_dynamic_spatial_sizes_are_exact(
    pair: NormalizerPair, correction: int, tmp_path: Path
) -> None:
    layer = trained_layer(4, pair, correction=correction)
    network = Lambda(lambda m, x: m.a(m.c(x)).relu(), c=nn.Conv2d(3, 4, 3, stride=2), a=layer)
    x = torch.randn(2, 3, 16, 16)
    result = prune(network.eval(), x, any_size=True)
    path = tmp_path / "m.onnx"
    stats = export_onnx(result.model, x, path, options=ExportOptions(dynamic="spatial"))
    assert stats.inputs == {"input": ["batch", 3, "height", "width"]}
    session = onnxruntime.InferenceSession(path)
    for shape in ((1, 3, 16, 16), (3, 3, 9, 30), (2, 3, 33, 5)):
        x = torch.randn(shape)
        (found,) = session.run(None, {"input": x.numpy()})
        with torch.no_grad():
            expected = result.original.double()(x.double())
        assert relative_error(torch.from_numpy(found).double(), expected) < 5e-6


def test_sequences_and_volumes_have_named_axes(tmp_path: Path) -> None:
    for layer, conv, names in (
        (SSN1d(4), nn.Conv1d(2, 4, 3), ["length"]),
        (SSN3d(4), nn.Conv3d(2, 4, 3), ["depth", "height", "width"]),
    ):
        layer.fix(LN, IN)
        x = torch.randn(2, 2, *[7] * len(names))
        model = prune(nn.Sequential(conv, layer).eval(), x, any_size=True).model
        options = ExportOptions(dynamic="spatial")
        stats = export_onnx(model, x, tmp_path / f"{len(names)}.onnx", options=options)
        assert stats.inputs == {"input": ["batch", 2, *names]}


@pytest.mark.parametrize("dynamic", ["none", "batch", "spatial"])
def test_the_command_makes_dynamic_what_was_asked_for(dynamic: str, tmp_path: Path) -> None:
    model = finished(TinyNetwork())
    path = tmp_path / "net.pth"
    torch.save({"state_dict": reference_layout(model)}, path)
    arguments = ["convert", path, "--arch", "helpers:TinyNetwork", "--dynamic", dynamic, "--json"]
    result = run(*arguments)
    assert result.exit_code == 0, result.output
    report = json.loads(result.stdout)
    sizes = {"none": [1, 1, 8, 8], "batch": ["batch", 1, 8, 8]}
    expected = sizes.get(dynamic, ["batch", 1, "height", "width"])
    assert report["onnx"]["inputs"] == {"input": expected}
    batches = report["verification"]["rounding"]["batch_sizes"]
    assert len(batches) == (6 if dynamic == "spatial" else 4 if dynamic == "none" else 3)
    verified = run("verify", path, path.with_suffix(".onnx"), *arguments[2:6])
    assert verified.exit_code == 0, verified.output


@pytest.mark.parametrize("axis", [2, 3])
def test_a_network_that_fixes_one_of_two_sizes_is_refused(axis: int, tmp_path: Path) -> None:
    def resized(_: nn.Module, x: Tensor) -> Tensor:
        sizes = [x.shape[2] // 2, x.shape[3] // 2]
        sizes[axis - 2] = int(x.shape[axis] * 0.75)  # the tracer knows no symbol for this
        return nn.functional.interpolate(x, size=sizes)

    network = nn.Sequential(nn.Conv2d(3, 4, 3), trained_layer(4, NormalizerPair(IN, LN)))
    network.append(Lambda(resized))
    x = torch.zeros(2, 3, 16, 16)
    model = prune(network.eval(), x, any_size=True).model
    with pytest.raises(ExportError, match="fixes its spatial size") as info:
        export_onnx(model, x, tmp_path / "m.onnx", options=ExportOptions(dynamic="spatial"))
    assert re.match(rf"code that needs .*\.shape\[{axis}\]\)\) == ", str(info.value.found))
    assert not (tmp_path / "m.onnx").exists()


def test_a_network_that_fixes_its_size_is_refused_with_the_reason(tmp_path: Path) -> None:
    path = save(tmp_path / "net.pth", finished(FixedSize()))
    result = run("convert", path, "--arch", f"{__name__}:FixedSize", "--dynamic", "spatial")
    assert result.exit_code == 1
    assert "fixes its spatial size" in result.stderr
    assert "x.shape[2]" in result.stderr
    assert not path.with_suffix(".onnx").exists()
    model = prune(finished(FixedSize()).eval(), torch.zeros(2, 1, 8, 8)).model
    with pytest.raises(ExportError, match="fixes its spatial size"):
        export_onnx(
            model,
            torch.zeros(2, 1, 8, 8),
            tmp_path / "m.onnx",
            options=ExportOptions(dynamic="spatial"),
        )


def test_conditions_on_dynamic_sizes_are_in_the_file(tmp_path: Path) -> None:
    class Divisible(TinyNetwork):
        def forward(self, x: Tensor) -> Tensor:
            y = super().forward(x)
            return y if x.shape[2] % 4 == 0 else 2 * y

    source = load_checkpoint(
        save(tmp_path / "net.pth", finished(TinyNetwork())), arch="helpers:TinyNetwork"
    )
    other = Divisible().eval()
    other.load_state_dict(source.model.state_dict())
    loaded = type(source)(other, source.input_size, source.source)
    report = convert(loaded, tmp_path / "m.onnx", ConvertOptions(dynamic="spatial"))
    assert any("x.shape[2] % 4" in condition for condition in report.size_conditions)
    stored = {item.key: item.value for item in onnx.load(tmp_path / "m.onnx").metadata_props}
    assert json.loads(stored["ssn_prune.size_conditions"]) == list(report.size_conditions)


def test_a_fixed_batch_and_dynamic_sizes_exclude_each_other() -> None:
    with pytest.raises(ArgumentError, match="exclude each other"):
        _ = ConvertOptions(dynamic="spatial", static_batch=2).dynamic_axes


def test_an_unknown_kind_of_dynamic_axes_is_refused(tmp_path: Path) -> None:
    model = nn.Conv2d(1, 1, 1)
    with pytest.raises(ArgumentError, match="dynamic axes"):
        export_onnx(
            model, torch.zeros(2, 1, 4, 4), tmp_path / "m.onnx", options=ExportOptions(dynamic="x")
        )


def test_several_inputs_and_nested_outputs_from_the_command_line(tmp_path: Path) -> None:
    path = save(tmp_path / "net.pth", TwoInputs())
    arch = ["--arch", f"{__name__}:TwoInputs", "--trust-running-statistics"]
    wrong = run("convert", path, *arch, "--input-size", "3x9x7,6")
    assert wrong.exit_code == 2
    assert "size 2x3x9x7, 2x6" in wrong.stderr
    result = run("convert", path, *arch, "--input-size", "3x9x7,5", "--json")
    assert result.exit_code == 0, result.output
    report = json.loads(result.stdout)
    assert report["onnx"]["inputs"] == {"input": ["batch", 3, 9, 7], "input_1": ["batch", 5]}
    assert list(report["onnx"]["outputs"]) == ["sum", "parts_0", "parts_1"]


def test_a_network_with_any_number_of_inputs(tmp_path: Path) -> None:
    class AnyNumber(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.conv, self.norm = nn.Conv2d(1, 4, 3), trained_layer(4, NormalizerPair(LN, LN))

        def forward(self, *inputs: Tensor) -> Tensor:
            return sum(self.norm(self.conv(x)) for x in inputs)

    inputs = (torch.randn(2, 1, 6, 6), torch.randn(2, 1, 6, 6))
    model = prune(AnyNumber().eval(), inputs).model
    stats = export_onnx(model, inputs, tmp_path / "m.onnx")
    assert list(stats.inputs.values()) == [["batch", 1, 6, 6]] * 2
    session = onnxruntime.InferenceSession(tmp_path / "m.onnx")
    feeds = {name: np.zeros((5, 1, 6, 6), np.float32) for name in stats.inputs}
    assert session.run(None, feeds)[0].shape == (5, 4, 4, 4)
