"""export and convert: readable, portable, complete files."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from helpers import reference_layout, tiny_network
from networks import BN, IN, trained_layer
from torch import nn

from ssn_prune import ConvertOptions, ExportOptions, convert, export_onnx, load_checkpoint, prune
from ssn_prune.errors import ArgumentError, ExportError, OutputError, VerificationError
from ssn_prune.example_inputs import BATCH_SIZES
from ssn_prune.normalizer import NormalizerPair

X = torch.zeros(2, 1, 8, 8)


@pytest.fixture(scope="module")
def pruned() -> nn.Module:
    return prune(tiny_network(), X).model


@pytest.fixture
def checkpoint(tmp_path: Path) -> Path:
    path = tmp_path / "digits.pth"
    torch.save({"epoch": 3, "state_dict": reference_layout(tiny_network())}, path)
    return path


def loaded(checkpoint: Path):
    return load_checkpoint(checkpoint, arch="helpers:TinyNetwork")


def test_defaults_are_portable(pruned: nn.Module, tmp_path: Path) -> None:
    path = tmp_path / "m.onnx"
    stats = export_onnx(pruned, X, path)
    model = onnx.load(path)
    assert model.ir_version == 8
    assert [(item.domain, item.version) for item in model.opset_import] == [("", 18)]
    assert {node.domain for node in model.graph.node} == {""}
    assert stats.inputs == {"input": ["batch", 1, 8, 8]}
    assert stats.outputs == {"output": ["batch", 3]}
    assert stats.nodes == len(model.graph.node)
    assert stats.bytes == path.stat().st_size
    assert sorted(tmp_path.iterdir()) == [path]


class Returning(nn.Module):
    """Returns an input, and has parameters and inner values with names that are wanted."""

    def __init__(self) -> None:
        super().__init__()
        self.image = nn.Parameter(torch.ones(1))
        self.conv = nn.Conv2d(1, 2, 3)

    def forward(self, x: torch.Tensor, relu: torch.Tensor) -> tuple[torch.Tensor, ...]:
        return torch.relu(self.conv(x) * self.image), relu


@pytest.mark.parametrize("names", [None, ("image", "relu"), ("relu", "conv2d")])
def test_inputs_keep_their_names(names: tuple[str, ...] | None, tmp_path: Path) -> None:
    path = tmp_path / "m.onnx"
    network = Returning().eval()
    inputs = torch.randn(2, 1, 8, 8), torch.randn(2, 3)
    stats = export_onnx(network, inputs, path, options=ExportOptions(input_names=names))
    assert tuple(stats.inputs) == (names or ("input", "input_1"))
    session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    given = {name: x.numpy() for name, x in zip(stats.inputs, inputs, strict=True)}
    found = session.run(None, given)
    for value, expected in zip(found, network(*inputs), strict=True):
        np.testing.assert_allclose(value, expected.detach().numpy(), rtol=1e-5, atol=1e-6)


def test_two_inputs_with_one_name_are_refused(tmp_path: Path) -> None:
    options = ExportOptions(input_names=("a", "a"))
    inputs = torch.zeros(2, 1, 8, 8), torch.zeros(2, 3)
    with pytest.raises(ArgumentError, match="same name"):
        export_onnx(Returning(), inputs, tmp_path / "m.onnx", options=options)
    assert not list(tmp_path.iterdir())


def test_the_batch_is_dynamic_unless_asked_for(pruned: nn.Module, tmp_path: Path) -> None:
    export_onnx(pruned, X, tmp_path / "any.onnx")
    export_onnx(pruned, X, tmp_path / "two.onnx", options=ExportOptions(dynamic="none"))
    session = onnxruntime.InferenceSession(tmp_path / "any.onnx")
    for size in (1, 2, 5):
        (y,) = session.run(None, {"input": np.zeros((size, 1, 8, 8), np.float32)})
        assert y.shape == (size, 3)
    fixed = onnxruntime.InferenceSession(tmp_path / "two.onnx").get_inputs()[0]
    assert fixed.shape == [2, 1, 8, 8]


def test_a_batch_that_cannot_stay_symbolic_is_an_error(tmp_path: Path) -> None:
    class Fixed(nn.Module):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return x.reshape(2, -1)

    with pytest.raises(ExportError, match="cannot be exported"):
        export_onnx(Fixed(), X, tmp_path / "m.onnx")
    assert list(tmp_path.iterdir()) == []


def test_nodes_are_named_by_module_and_nothing_local_is_left(
    pruned: nn.Module, tmp_path: Path
) -> None:
    export_onnx(pruned, X, tmp_path / "m.onnx")
    model = onnx.load(tmp_path / "m.onnx")
    names = [node.name for node in model.graph.node]
    assert len(set(names)) == len(names)
    assert {"conv1/Conv", "conv2/Conv", "fc/Gemm"} <= set(names)
    assert any(name.startswith("sn1/") for name in names)
    assert not any(node.metadata_props or node.doc_string for node in model.graph.node)
    content = (tmp_path / "m.onnx").read_bytes()
    for forbidden in (b"stack_trace", b".py", b"site-packages", str(Path.cwd()).encode()):
        assert forbidden not in content


def test_the_same_network_gives_the_same_bytes(pruned: nn.Module, tmp_path: Path) -> None:
    export_onnx(pruned, X, tmp_path / "a.onnx")
    export_onnx(pruned, X, tmp_path / "b.onnx")
    assert (tmp_path / "a.onnx").read_bytes() == (tmp_path / "b.onnx").read_bytes()


def test_large_weights_go_into_a_file_of_their_own(pruned: nn.Module, tmp_path: Path) -> None:
    path = tmp_path / "m.onnx"
    whole = export_onnx(pruned, X, tmp_path / "whole.onnx")
    options = ExportOptions(single_file_limit=0)
    stats = export_onnx(pruned, X, path, options=options)
    assert stats.external_data is not None
    assert (tmp_path / stats.external_data).is_file()
    assert whole.external_data is None
    sessions = [onnxruntime.InferenceSession(tmp_path / name) for name in ("m.onnx", "whole.onnx")]
    values = np.random.default_rng(0).standard_normal((2, 1, 8, 8)).astype(np.float32)
    first, second = (session.run(None, {"input": values})[0] for session in sessions)
    np.testing.assert_array_equal(first, second)
    export_onnx(pruned, X, path, force=True)  # back to one file: the old weights go
    assert sorted(p.name for p in tmp_path.iterdir()) == ["m.onnx", "whole.onnx"]


def test_an_existing_file_is_replaced_only_by_a_complete_one(
    pruned: nn.Module, tmp_path: Path
) -> None:
    path = tmp_path / "m.onnx"
    path.write_bytes(b"old")
    with pytest.raises(OutputError, match="exists already"):
        export_onnx(pruned, X, path)

    class Fails(nn.Module):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            raise RuntimeError("no graph")

    with pytest.raises(ExportError):
        export_onnx(Fails(), X, path, force=True)
    assert path.read_bytes() == b"old"
    export_onnx(pruned, X, path, force=True)
    onnx.checker.check_model(path)
    assert list(tmp_path.iterdir()) == [path]


def test_several_outputs_are_named_by_their_keys(tmp_path: Path) -> None:
    class Two(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.conv = nn.Conv2d(1, 2, 3)

        def forward(self, x: torch.Tensor) -> dict[str, torch.Tensor]:
            y = self.conv(x)
            return {"out": y, "aux": y.mean((2, 3))}

    stats = export_onnx(Two(), X, tmp_path / "m.onnx")
    assert list(stats.outputs) == ["out", "aux"]


def test_convert_stores_provenance_selection_and_notes(checkpoint: Path, tmp_path: Path) -> None:
    target = tmp_path / "m.onnx"
    options = ConvertOptions(preprocessing="pixels / 8 - 1")
    report = convert(loaded(checkpoint), target, options)
    stored = {item.key: item.value for item in onnx.load(target).metadata_props}
    assert stored["ssn_prune.source"] == "digits.pth"
    assert stored["ssn_prune.source_sha256"] == report.source.sha256
    assert stored["ssn_prune.preprocessing_note"] == "pixels / 8 - 1"
    selection = json.loads(stored["ssn_prune.selection"])
    assert selection["sn1"] == {"mean": "IN", "var": "BN", "form": "InstanceCentre2d"}
    assert selection["sn2"] == {"mean": "BN", "var": "BN", "form": "Identity"}
    assert str(tmp_path) not in json.dumps(stored)
    assert report.verification is not None
    assert report.verification.passed


def test_a_failed_verification_leaves_no_file(
    checkpoint: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("ssn_prune.verification.algebra.float64_bound", lambda _: -1.0)
    monkeypatch.setattr("ssn_prune.verification.compare.ERROR_FACTOR", 0.0)
    monkeypatch.setattr("ssn_prune.verification.compare.SCALE_FACTOR", 0.0)
    with pytest.raises(VerificationError):
        convert(loaded(checkpoint), tmp_path / "m.onnx")
    assert list(tmp_path.iterdir()) == [checkpoint]
    assert BATCH_SIZES == (1, 2, 3)


@pytest.mark.parametrize("mode", ["exact", "argmax"])
def test_soft_gates_convert_in_both_modes(tmp_path: Path, mode: str) -> None:
    model = tiny_network()
    with torch.no_grad():
        for layer in (model.sn1, model.sn2):
            layer.mean_fixed.zero_()
            layer.mean_weight.copy_(torch.tensor([0.4, 0.1, 0.6]))
            layer.radius.fill_(0.3)
    torch.save({"state_dict": model.state_dict()}, tmp_path / "soft.pth")
    options = ConvertOptions(on_unconverged=mode)
    report = convert(loaded(tmp_path / "soft.pth"), tmp_path / "m.onnx", options)
    assert report.verification is not None
    assert report.verification.passed
    assert (report.rounded is not None) == (mode == "argmax")


def test_a_static_batch_is_verified_at_that_size(checkpoint: Path, tmp_path: Path) -> None:
    report = convert(loaded(checkpoint), tmp_path / "m.onnx", ConvertOptions(static_batch=4))
    assert report.onnx is not None
    assert report.onnx.inputs["input"] == [4, 1, 8, 8]
    assert report.verification is not None
    assert report.verification.rounding is not None
    assert report.verification.rounding.batch_sizes == (4, 4, 4, 4)


def test_a_norm_that_cannot_fold_is_one_batch_normalization(tmp_path: Path) -> None:
    pair = NormalizerPair(BN, BN)
    network = nn.Sequential(nn.Conv2d(1, 2, 3), nn.MaxPool2d(2), trained_layer(2, pair))
    result = prune(network, X)
    stats = export_onnx(result.model, X, tmp_path / "m.onnx")
    assert stats.operators == {"Conv": 1, "MaxPool": 1, "BatchNormalization": 1}
    assert result.report.layers[0].reason == "its input comes from aten.max_pool2d.default"


def test_a_saturated_channel_keeps_its_accuracy_through_centring(tmp_path: Path) -> None:
    """ONNX Runtime sums a long constant row with a bias; the convolution's bias avoids that."""
    torch.manual_seed(0)
    conv = nn.Conv2d(1, 2, 3, padding=1)
    network = nn.Sequential(nn.Hardtanh(-1, 6), conv, trained_layer(2, NormalizerPair(IN, IN)))
    x = 6.0 + torch.randn(2, 1, 112, 112).sub(2.5).clamp(max=0)
    x[:, :, :2] = 0
    result = prune(network, x)
    export_onnx(result.model, x, tmp_path / "m.onnx")
    session = onnxruntime.InferenceSession(tmp_path / "m.onnx")
    actual = torch.from_numpy(session.run(None, {"input": x.numpy()})[0])
    with torch.no_grad():
        expected = network.double()(x.double())
    error, scale = float((actual - expected).abs().max()), float(expected.abs().max())
    assert error < 2e-6 * scale
