"""A second, independent consumer: the exported files run in OpenVINO and agree."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import openvino
import pytest
import torch
from dimension_networks import KINDS, Branches, all_pairs, one_hot_layer, sample
from networks import PairNetwork, settle_statistics
from torch import Tensor, nn

from ssn_prune import ExportOptions, export_onnx, prune
from ssn_prune.surgery.copying import copy_model
from ssn_prune.surgery.float64 import float64_copy
from ssn_prune.surgery.nested import tensor_leaves
from ssn_prune.verification.compare import rounding_bound


def openvino_outputs(path: Path, *inputs: Tensor) -> list[np.ndarray]:
    """Run on the CPU in float32; by default OpenVINO may choose bfloat16."""
    core = openvino.Core()
    settings = {"INFERENCE_PRECISION_HINT": "f32", "INFERENCE_NUM_THREADS": 1}
    compiled = core.compile_model(str(path), "CPU", settings)
    found = compiled([x.numpy() for x in inputs])
    return [found[output] for output in compiled.outputs]


def assert_agrees(original: nn.Module, path: Path, x: Tensor) -> None:
    """Within the bound of the rounding check, output by output."""
    with torch.no_grad():
        exact = tensor_leaves(float64_copy(original)(x.double()))
        own = tensor_leaves(copy_model(original).eval()(x))
    found = openvino_outputs(path, x)
    assert len(found) == len(exact)
    for value, reference, single in zip(found, exact, own, strict=True):
        error = float((torch.from_numpy(value).double() - reference).abs().max())
        own_error = float((single.double() - reference).abs().max())
        assert error <= rounding_bound(own_error, float(reference.abs().max()))


@pytest.mark.parametrize(("correction", "follows_conv"), [(0, True), (1, False)])
@pytest.mark.parametrize("dynamic", ["batch", "spatial"])
def test_every_pair_agrees(
    correction: int, follows_conv: bool, dynamic: str, tmp_path: Path
) -> None:
    network = PairNetwork(correction, conv_bias=True, follows_conv=follows_conv)
    settle_statistics(network, torch.randn(4, 3, 12, 12))
    x = torch.randn(2, 3, 12, 12)
    result = prune(network.eval(), x, any_size=dynamic == "spatial")
    path = tmp_path / "m.onnx"
    export_onnx(result.model, x, path, options=ExportOptions(dynamic=dynamic))
    assert_agrees(result.original, path, torch.randn(3, 3, 12, 12))
    if dynamic == "spatial":
        assert_agrees(result.original, path, torch.randn(1, 3, 17, 10))


@pytest.mark.parametrize("kind", KINDS)
def test_other_dimensions_agree(kind: str, tmp_path: Path) -> None:
    layers = [one_hot_layer(kind, pair, seed) for seed, pair in enumerate(all_pairs(kind, 0))]
    network, x = Branches(kind, layers, adjacent=True).eval(), sample(kind).float()
    result = prune(network, x)
    path = tmp_path / "m.onnx"
    export_onnx(result.model, x, path)
    assert_agrees(result.original, path, x)


def test_nothing_needs_a_custom_operator(tmp_path: Path) -> None:
    network = PairNetwork(1, conv_bias=True, follows_conv=False).eval()
    x = torch.randn(2, 3, 12, 12)
    for any_size, dynamic in ((False, "batch"), (True, "spatial")):
        path = tmp_path / f"{dynamic}.onnx"
        pruned = prune(network, x, any_size=any_size).model
        export_onnx(pruned, x, path, options=ExportOptions(dynamic=dynamic))
        model = onnx.load(path)
        assert {node.domain for node in model.graph.node} == {""}
        assert [entry.domain for entry in model.opset_import] == [""]
        assert not model.functions


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("correction", [0, 1])
def test_files_for_one_sample_agree(kind: str, correction: int, tmp_path: Path) -> None:
    layers = [
        one_hot_layer(kind, pair, seed) for seed, pair in enumerate(all_pairs(kind, correction))
    ]
    network, x = Branches(kind, layers, adjacent=True).eval(), sample(kind, batch=1).float()
    result = prune(network, x)
    path = tmp_path / "m.onnx"
    export_onnx(result.model, x, path, options=ExportOptions(dynamic="none"))
    assert_agrees(result.original, path, x)
