"""Detection models: captured in parts, exported by tracing, verified like any other network."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from networks import ALL_PAIRS, random_selection
from torch import Tensor, nn
from torchvision.models.detection import RetinaNet
from torchvision.models.detection.anchor_utils import AnchorGenerator
from typer.testing import CliRunner

from ssn_prune import SSN2d, export_onnx, load_checkpoint, prune
from ssn_prune.architectures.torchvision import torchvision_usage
from ssn_prune.cli.app import app
from ssn_prune.errors import ArgumentError
from ssn_prune.onnx_export.detection import trace_to_onnx
from ssn_prune.onnx_export.options import ExportOptions


class Backbone(nn.Sequential):
    """Two strided convolutions with norms."""

    out_channels = 8

    def __init__(self) -> None:
        super().__init__(
            nn.Conv2d(3, 4, 3, stride=2, padding=1, bias=False),
            SSN2d(4),
            nn.ReLU(inplace=True),
            nn.Conv2d(4, 8, 3, stride=4, padding=1, bias=False),
            SSN2d(8),
        )


def detector() -> RetinaNet:
    """A small detector that finds something in any image; its head shares its convolutions."""
    anchors = AnchorGenerator(sizes=((8, 16),), aspect_ratios=((1.0,),))
    few = {"score_thresh": 0.0, "topk_candidates": 12, "detections_per_img": 6}
    model = RetinaNet(Backbone(), 3, min_size=32, max_size=48, anchor_generator=anchors, **few)
    model.takes_images = True
    return model


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory) -> Path:
    torch.manual_seed(0)
    model = random_selection(detector(), ALL_PAIRS[6:])
    for layer in (m for m in model.modules() if isinstance(m, SSN2d)):
        layer.running_var.fill_(0.3)
    # Trained scores are not all a hundredth, where ONNX Runtime's sigmoid is off by 4e-8.
    nn.init.zeros_(model.head.classification_head.cls_logits.bias)
    path = tmp_path_factory.mktemp("detection") / "net.pth"
    torch.save(model.state_dict(), path)
    return path


def convert(checkpoint: Path, target: Path, *options: str) -> dict:
    arch = ["--arch", f"{__name__}:detector", "--input-size", "3x32x40"]
    arguments = ["convert", str(checkpoint), *arch, "-o", str(target), "--json", *options]
    result = CliRunner().invoke(app, [*arguments, "--trust-running-statistics"])
    assert result.exit_code == 0, result.output
    return json.loads(result.stdout)


def outputs(path: Path, image: Tensor) -> list[np.ndarray]:
    session = onnxruntime.InferenceSession(path)
    return session.run(None, {"input": image.numpy()})


@pytest.mark.parametrize(("dynamic", "opset"), [("batch", 13), ("spatial", 20)])
def test_a_detector_converts_and_agrees(
    checkpoint: Path, dynamic: str, opset: int, tmp_path: Path
) -> None:
    target = tmp_path / "m.onnx"
    report = convert(checkpoint, target, "--dynamic", dynamic, "--opset", str(opset))
    assert report["onnx"]["opset"] == onnx.load(target).opset_import[0].version == opset
    assert report["captured_parts"] == ["backbone"]
    assert all(layer["fold"] for layer in report["layers"])
    assert report["after"]["operators"] is None
    names = [f"output_0_{name}" for name in ("boxes", "scores", "labels")]
    assert list(report["onnx"]["outputs"]) == names
    model = load_checkpoint(checkpoint, arch=f"{__name__}:detector", input_size=(3, 32, 40)).model
    for size in [(32, 40)] if dynamic == "batch" else [(32, 40), (48, 30), (64, 64)]:
        image = torch.randn(3, *size, generator=torch.Generator().manual_seed(3))
        with torch.no_grad():
            (expected,) = model([image])
        boxes, scores, labels = outputs(target, image)
        assert boxes.shape == expected["boxes"].shape
        assert labels.shape == expected["labels"].shape
        # Untrained scores are nearly tied, so only their values say the same in both runs.
        np.testing.assert_allclose(scores, expected["scores"].numpy(), rtol=0, atol=2e-6)


def test_the_newest_operator_set_of_a_traced_network_is_named() -> None:
    with pytest.raises(ArgumentError, match="13 to 20: it is traced") as error:
        trace_to_onnx(detector(), ([torch.zeros(3, 32, 40)],), ExportOptions(opset=21), False)
    assert error.value.details()["try"] == "pass `opset=20`"


def test_a_traced_network_has_no_file_of_another_target(tmp_path: Path) -> None:
    options = ExportOptions(target="tflite")
    model = prune(random_selection(detector(), ALL_PAIRS[6:]), ([torch.zeros(3, 32, 40)],)).model
    with pytest.raises(ArgumentError, match="for TFLite"):
        export_onnx(model, ([torch.zeros(3, 32, 40)],), tmp_path / "m.onnx", options=options)
    assert not list(tmp_path.iterdir())


def test_the_command_says_what_was_captured(checkpoint: Path, tmp_path: Path) -> None:
    arch = ["--arch", f"{__name__}:detector", "--input-size", "3x32x40"]
    arguments = ["convert", str(checkpoint), *arch, "-o", str(tmp_path / "m.onnx")]
    result = CliRunner().invoke(app, [*arguments, "--trust-running-statistics"])
    assert result.exit_code == 0, result.output
    assert "captured in parts: backbone;" in result.stdout
    assert result.stderr == ""


def test_nothing_of_the_machine_and_no_custom_operator(checkpoint: Path, tmp_path: Path) -> None:
    target = tmp_path / "m.onnx"
    convert(checkpoint, target)
    model = onnx.load(target)
    assert {node.domain for node in model.graph.node} <= {""}
    assert not any(node.doc_string or node.metadata_props for node in model.graph.node)
    assert b"site-packages" not in target.read_bytes()


@pytest.mark.parametrize(
    ("name", "size", "inputs"),
    [
        ("resnet18", (3, 224, 224), 1),
        ("inception_v3", (3, 299, 299), 1),
        ("deeplabv3_mobilenet_v3_large", (3, 520, 520), 1),
        ("r3d_18", (3, 16, 112, 112), 1),
        ("quantized_resnet18", (3, 224, 224), 1),
        ("ssdlite320_mobilenet_v3_large", (3, 320, 320), 1),
        ("fasterrcnn_resnet50_fpn", (3, 480, 640), 1),
        ("raft_small", None, 2),
    ],
)
def test_what_torchvision_s_models_take_is_known(name, size, inputs) -> None:
    usage = torchvision_usage(name)
    assert (usage.input_size, usage.inputs) == (size, inputs)
