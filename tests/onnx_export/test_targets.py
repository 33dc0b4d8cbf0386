"""What a file is for decides which forms, operator set and dynamic axes it has."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import onnx
import pytest
import torch
from dimension_networks import Branches, one_hot_layer, sample
from helpers import tiny_network

from ssn_prune import ExportOptions, convert, export_onnx, load_checkpoint, prune
from ssn_prune.checkpoint.loading import LoadedCheckpoint
from ssn_prune.cli.options import Targets
from ssn_prune.conversion import ConvertOptions, verify_file
from ssn_prune.errors import ArgumentError
from ssn_prune.normalizer import ALL_PAIRS
from ssn_prune.onnx_export.passes.table import PASSES
from ssn_prune.onnx_export.targets import TARGETS


def network_of(kind: str, correction: int = 0) -> Branches:
    layers = [
        one_hot_layer(kind, pair, seed, correction=correction)
        for seed, pair in enumerate(ALL_PAIRS)
    ]
    return Branches(kind, layers, adjacent=True).eval()


def exported(kind: str, path: Path, correction: int = 0, **options: Any) -> onnx.ModelProto:
    x = sample(kind, 2, dtype=torch.float32)
    x = x[:1] if options.get("dynamic") == "none" else x
    model = prune(network_of(kind, correction), x).model
    export_onnx(model, x, path, options=ExportOptions(**options), force=True)
    return onnx.load(path)


def loaded_network(folder: Path) -> LoadedCheckpoint:
    torch.save(tiny_network().state_dict(), folder / "net.pth")
    return load_checkpoint(folder / "net.pth", arch="helpers:TinyNetwork")


def constants_of(model: onnx.ModelProto) -> dict[str, Any]:
    return {t.name: onnx.numpy_helper.to_array(t) for t in model.graph.initializer}


def computed_statistics(model: onnx.ModelProto) -> int:
    """Batch normalizations with a mean or a variance that is no constant."""
    constants = constants_of(model)
    norms = [node for node in model.graph.node if node.op_type == "BatchNormalization"]
    return sum(any(name not in constants for name in node.input[1:]) for node in norms)


def test_the_rows_are_the_values_of_the_option() -> None:
    assert [target.name for target in TARGETS] == [entry.value for entry in Targets]
    known = {entry.code for entry in PASSES}
    assert all(known.issuperset(target.passes) for target in TARGETS)
    assert all(len(set(target.passes)) == len(target.passes) for target in TARGETS)


@pytest.mark.parametrize("correction", [0, 1])
@pytest.mark.parametrize("kind", ["1d", "2d", "3d"])
def test_the_portable_file_has_no_form_that_runtimes_misread(
    kind: str, correction: int, tmp_path: Path
) -> None:
    for dynamic in ("batch", "none"):
        model = exported(kind, tmp_path / "net.onnx", correction, dynamic=dynamic)
        assert computed_statistics(model) == 0
        constants, last = constants_of(model), {"1d": 2, "2d": 3, "3d": 4}[kind]
        reductions = [n for n in model.graph.node if n.op_type in ("ReduceMean", "ReduceSum")]
        over = [constants[node.input[1]].tolist() for node in reductions]
        assert over
        assert [axes for axes in over if 1 in axes and axes != [1, last]] == []
        assert [axes for axes in over if len(axes) > 2] == []


@pytest.mark.parametrize("kind", ["1d", "2d", "3d"])
def test_a_fixed_batch_costs_no_nodes(kind: str, tmp_path: Path) -> None:
    open_file = exported(kind, tmp_path / "open.onnx", dynamic="batch")
    fixed = exported(kind, tmp_path / "fixed.onnx", dynamic="none")
    assert len(fixed.graph.node) <= len(open_file.graph.node)


def test_onnx_runtime_gets_its_one_sample_forms(tmp_path: Path) -> None:
    fixed = exported("2d", tmp_path / "fixed.onnx", target="onnxruntime", dynamic="none")
    assert computed_statistics(fixed) == 5
    portable = exported("2d", tmp_path / "portable.onnx", dynamic="none")
    assert len(fixed.graph.node) < len(portable.graph.node)


def test_the_one_sample_forms_pass_over_the_activation_less_often(tmp_path: Path) -> None:
    """What makes them faster; ``benchmarks/results/runtimes.md`` has the times."""
    layers = [one_hot_layer("2d", pair) for pair in ALL_PAIRS if str(pair) == "LN/LN"]
    x = torch.randn(1, 3, 130, 130)
    model = prune(Branches("2d", layers, adjacent=True).eval(), x).model
    passes = {}
    for target in ("portable", "onnxruntime"):
        options = ExportOptions(target=target, dynamic="none")
        export_onnx(model, x, tmp_path / f"{target}.onnx", options=options)
        graph = onnx.shape_inference.infer_shapes(onnx.load(tmp_path / f"{target}.onnx")).graph
        values = [*graph.value_info, *graph.output]
        shapes = [[size.dim_value for size in v.type.tensor_type.shape.dim] for v in values]
        passes[target] = sum(shape[2:] == [128, 128] for shape in shapes)
    assert passes["onnxruntime"] == passes["portable"] - 1


@pytest.mark.parametrize("name", ["ncnn", "tflite"])
def test_a_target_without_an_open_batch_fixes_it(name: str, tmp_path: Path) -> None:
    assert ConvertOptions(target=name).fixed_batch == 1
    assert ConvertOptions(target=name, static_batch=3).fixed_batch == 3
    report = convert(loaded_network(tmp_path), tmp_path / "net.onnx", ConvertOptions(target=name))
    assert report.onnx is not None
    assert report.onnx.target == name
    assert report.onnx.inputs["input"][0] == 1
    batch = verify_file(loaded_network(tmp_path), tmp_path / "net.onnx", ConvertOptions())
    assert batch.verification is not None
    assert batch.verification.rounding is not None
    assert set(batch.verification.rounding.batch_sizes) == {1}  # without being told
    stored = {entry.key: entry.value for entry in onnx.load(tmp_path / "net.onnx").metadata_props}
    assert stored["ssn_prune.target"] == name


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"target": "ncnn", "dynamic": "batch"}, "`dynamic='batch'`"),
        ({"target": "tflite", "dynamic": "spatial"}, "`dynamic='spatial'`"),
        ({"target": "coreml"}, "`target='coreml'`"),
    ],
)
def test_what_is_beyond_a_target_is_refused(
    options: dict[str, Any], message: str, tmp_path: Path
) -> None:
    path = tmp_path / "net.onnx"
    with pytest.raises(ArgumentError) as caught:
        convert(loaded_network(tmp_path), path, ConvertOptions(**options))
    assert message in (caught.value.found or "")
    assert not path.exists()
