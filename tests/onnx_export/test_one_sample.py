"""Files for one sample take its statistics per channel and give the outputs of the original."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import onnx
import onnxruntime
import pytest
import torch
from networks import PairNetwork
from torch import Tensor

from ssn_prune import ExportOptions, export_onnx, prune
from ssn_prune.surgery.float64 import float64_copy
from ssn_prune.surgery.nested import tensor_leaves
from ssn_prune.verification.compare import rounding_bound

STATIC = ExportOptions(target="onnxruntime", dynamic="none")


def _outputs(path: Path, x: Tensor) -> list[Tensor]:
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    session = onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])
    return [torch.from_numpy(value) for value in session.run(None, {"input": x.numpy()})]


@pytest.mark.parametrize("correction", [0, 1])
@pytest.mark.parametrize("follows_conv", [False, True])
@pytest.mark.parametrize("size", [9, 70])
def test_every_pair_agrees(correction: int, follows_conv: bool, size: int, tmp_path: Path) -> None:
    network = PairNetwork(correction, conv_bias=True, follows_conv=follows_conv).eval()
    x = torch.randn(1, 3, size, size)
    result = prune(network, x)
    export_onnx(result.model, x, tmp_path / "one.onnx", options=STATIC)
    with torch.no_grad():
        exact = tensor_leaves(float64_copy(result.original)(x.double()))
        own = tensor_leaves(result.original(x))
    for value, reference, single in zip(
        _outputs(tmp_path / "one.onnx", x), exact, own, strict=True
    ):
        error = float((value.double() - reference).abs().max())
        own_error = float((single.double() - reference).abs().max())
        assert error <= rounding_bound(own_error, float(reference.abs().max()))
    nodes = onnx.load(tmp_path / "one.onnx").graph.node
    assert Counter(node.op_type for node in nodes)["BatchNormalization"] >= 5
    assert not any(node.op_type == "Div" for node in nodes)
