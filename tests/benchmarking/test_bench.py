"""The bench command: three networks of a checkpoint, files as they are, costs of each norm."""

from __future__ import annotations

import json
from dataclasses import fields
from pathlib import Path

import numpy as np
import onnx
import pytest
import torch
from helpers import reference_layout, tiny_network
from onnx import helper
from torch import nn
from typer.testing import CliRunner, Result

from ssn_prune import ExportOptions, export_onnx, prune
from ssn_prune.benchmarking import records
from ssn_prune.benchmarking.bench import bench
from ssn_prune.benchmarking.networks import with_all_statistics, without_norms
from ssn_prune.benchmarking.records import BenchOptions, NetworkCost
from ssn_prune.cli.app import app
from ssn_prune.console import bench_lines
from ssn_prune.errors import ArgumentError, InferenceRuntimeError
from ssn_prune.nn.switchable import SwitchableNorm
from ssn_prune.runtime.inputs import inputs_of, make_feed
from ssn_prune.runtime.measuring import time_in_turns

ARCH = ["--arch", "helpers:TinyNetwork"]
FEW = ["--runs", "4"]


def run(*arguments: object) -> Result:
    return CliRunner().invoke(app, ["bench", *(str(argument) for argument in arguments)])


@pytest.fixture
def checkpoint(tmp_path: Path) -> Path:
    path = tmp_path / "net.pth"
    torch.save({"state_dict": reference_layout(tiny_network())}, path)
    return path


@pytest.fixture
def exported(tmp_path: Path) -> Path:
    path = tmp_path / "pruned.onnx"
    model = prune(tiny_network().eval(), torch.randn(2, 1, 8, 8)).model
    export_onnx(model, torch.randn(2, 1, 8, 8), path)
    return path


def test_a_checkpoint_is_measured_as_three_networks(checkpoint: Path) -> None:
    result = run(checkpoint, *ARCH, *FEW, "--json", "--batch", "2")
    assert result.exit_code == 0, result.output
    report = json.loads(result.stdout)
    names = [network["name"] for network in report["networks"]]
    assert names == ["original", "pruned", "norm-free"]
    assert report["baseline"] == "norm-free"
    assert report["options"]["batch"] == 2
    nodes = [network["nodes"] for network in report["networks"]]
    assert nodes[0] > nodes[1] > nodes[2]
    for network in report["networks"]:
        assert 0 < network["lower_ms"] <= network["median_ms"] <= network["upper_ms"]
        assert network["memory_bytes"] > 0
        assert network["file_bytes"] > 0
    base = report["networks"][2]["median_ms"]
    assert report["networks"][0]["ratio"] == report["networks"][0]["median_ms"] / base
    layers = {layer["layer"]: layer for layer in report["layers"]}
    assert all(layer["milliseconds"] > 0 for layer in layers.values())
    assert sum(layer["share"] for layer in layers.values()) < 1
    costs = [layer["milliseconds"] for layer in report["layers"]]
    assert costs == sorted(costs, reverse=True)


def test_tables_name_networks_and_norms(checkpoint: Path) -> None:
    result = run(checkpoint, *ARCH, *FEW, "--static")
    assert result.exit_code == 0, result.output
    for text in ("original", "norm-free", "sn1", "InstanceCentre2d", "ratio", "quartiles"):
        assert text in result.stdout


def test_files_and_checkpoints_side_by_side(checkpoint: Path, exported: Path) -> None:
    result = run(exported, checkpoint, exported, *ARCH, *FEW, "--json", "--no-profile")
    assert result.exit_code == 0, result.output
    report = json.loads(result.stdout)
    names = [network["name"] for network in report["networks"]]
    assert names[0] == "pruned.onnx"
    assert names[1:4] == ["net.pth: original", "net.pth: pruned", "net.pth: norm-free"]
    assert names[4] == "pruned.onnx (3)"
    assert report["baseline"] == "net.pth: norm-free"
    assert report["layers"] == []


def test_external_data_counts(exported: Path, tmp_path: Path) -> None:
    path = tmp_path / "external.onnx"
    model = nn.Linear(50, 40)
    options = ExportOptions(single_file_limit=100)
    stats = export_onnx(model, torch.randn(2, 50), path, options=options)
    report = bench({"a": path, "b": exported}, BenchOptions(runs=2, profile=False))
    assert report.networks[0].file_bytes >= 4 * 50 * 40
    assert stats.nodes == report.networks[0].nodes
    assert report.baseline == "a"


def test_a_file_with_a_fixed_batch_takes_no_other(tmp_path: Path) -> None:
    path = tmp_path / "fixed.onnx"
    export_onnx(nn.Linear(3, 2), torch.randn(4, 3), path, options=ExportOptions(dynamic="none"))
    result = run(path, "--batch", 2)
    assert result.exit_code == 2
    assert "--batch 4" in result.stderr
    assert run(path, "--batch", 4, *FEW).exit_code == 0


def test_dynamic_sizes_have_to_be_given(tmp_path: Path) -> None:
    path = tmp_path / "open.onnx"
    options = ExportOptions(dynamic="spatial")
    export_onnx(nn.Conv2d(3, 2, 3), torch.randn(2, 3, 9, 9), path, options=options)
    result = run(path)
    assert result.exit_code == 2
    assert "--input-size" in result.stderr
    assert run(path, "--input-size", "3x12x10", *FEW).exit_code == 0


def test_what_is_no_file_of_a_network_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "no.onnx"
    path.write_bytes(b"\x00not a graph")
    result = run(path)
    assert result.exit_code != 0
    assert "not an ONNX file" in result.stderr
    assert "Traceback" not in result.stderr
    with pytest.raises(InferenceRuntimeError):
        bench({"no": tmp_path / "absent.onnx"})


def test_whole_numbers_are_zero_and_scalars_have_no_batch() -> None:
    inputs = [
        helper.make_tensor_value_info("ids", onnx.TensorProto.INT64, ["batch", 5]),
        helper.make_tensor_value_info("x", onnx.TensorProto.FLOAT16, [None, 2]),
        helper.make_tensor_value_info("scale", onnx.TensorProto.FLOAT, []),
    ]
    graph = helper.make_model(helper.make_graph([], "g", inputs, []))
    feed = make_feed(inputs_of(graph, "g", 3, ()))
    assert feed["ids"].dtype == np.int64
    assert not feed["ids"].any()
    assert (feed["x"].dtype, feed["x"].shape) == (np.float16, (3, 2))
    assert feed["scale"].shape == ()
    open_axis = helper.make_tensor_value_info("x", onnx.TensorProto.FLOAT, ["n", 3, "h"])
    graph = helper.make_model(helper.make_graph([], "g", [open_axis], []))
    with pytest.raises(ArgumentError, match="has dynamic sizes in x"):
        inputs_of(graph, "g", 1, ())
    (given,) = inputs_of(graph, "g", 1, [(3, 8)])
    assert given.shape == (1, 3, 8)


def test_networks_take_turns() -> None:
    order: list[str] = []

    runners = {name: lambda name=name: order.append(name) for name in "ab"}
    times = time_in_turns(runners, runs=3, warmup=1)
    assert "".join(order) == "abababab"
    assert [len(values) for values in times.values()] == [3, 3]


def test_noise_is_reported() -> None:
    steady = NetworkCost("n", 1, 1, 1.0, 0.97, 1.04, 1.0, None)
    assert not steady.noisy
    assert NetworkCost("n", 1, 1, 1.0, 0.97, 1.08, 1.0, None).noisy
    report = records.BenchReport(
        1, "0", "0", "cpu", 2, BenchOptions(), "n", (steady,), (), {"original": "why"}, True
    )
    lines = " ".join(bench_lines(report))
    assert "noisy" in lines
    assert "no original network: why" in lines


def test_the_networks_that_the_pruned_one_is_compared_with() -> None:
    model = tiny_network().eval()
    before = {key: value.clone() for key, value in model.state_dict().items()}
    bare, original = without_norms(model), with_all_statistics(model)
    for network in (bare, original):
        assert not any(isinstance(module, SwitchableNorm) for module in network.modules())
        assert torch.isfinite(network(torch.randn(2, 1, 8, 8))).all()
    assert bare.conv1.bias is not None
    assert model.conv1.bias is None
    after = model.state_dict()
    assert all(torch.equal(value, after[key]) for key, value in before.items())


def test_the_json_form_is_documented() -> None:
    text = (Path(__file__).parents[2] / "docs" / "bench.md").read_text(encoding="utf-8")
    for record in (records.BenchReport, records.NetworkCost, records.LayerCost, BenchOptions):
        for field in fields(record):
            assert f"`{field.name}`" in text, f"{record.__name__}.{field.name}"
