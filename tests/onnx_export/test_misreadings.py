"""What runtimes get wrong without an error is found in the finished graph, and said."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from cli_checks import run_cli
from dimension_networks import Branches, one_hot_layer, sample
from torch import Tensor, nn

from ssn_prune import ExportOptions, export_onnx, prune
from ssn_prune.normalizer import ALL_PAIRS
from ssn_prune.onnx_export.targets import find_target

SEQUENCE, PLANE, VOLUME = (2, 3, 7), (2, 3, 5, 6), (2, 3, 4, 5, 6)


class Code(nn.Module):
    """A convolution, then some code of a user."""

    def __init__(self, axes: int, code: Callable[[Tensor], Tensor], convolved: bool = True) -> None:
        super().__init__()
        conv = {3: nn.Conv1d, 4: nn.Conv2d, 5: nn.Conv3d}[axes]
        self.conv = conv(3, 4, 1) if convolved else nn.Identity()
        self.rest = code

    def forward(self, x: Tensor) -> Tensor:
        return self.rest(self.conv(x))


def misread(network: nn.Module, x: Tensor, path: Path, target: str = "portable") -> list[str]:
    x = x[:1] if find_target(target).dynamic[0] == "none" else x
    stats = export_onnx(network.eval(), x, path, options=ExportOptions(target=target), force=True)
    return [f"{entry.runtime}: {entry.what} -> {entry.target}" for entry in stats.misread]


ONE_AXIS = "ncnn: reductions over one axis -> ncnn"
VECTORS = "ncnn: some reductions of vectors -> None"
VOLUMES = "tflite: broadcasting of volumes -> None"
NORMS = "opencv: InstanceNormalization of large means -> opencv"
SATURATED = "opencv: norms of Sigmoid and Tanh as outputs -> None"


@pytest.mark.parametrize(
    ("shape", "code", "convolved", "expected"),
    [
        (SEQUENCE, lambda x: x.mean(2, keepdim=True), True, [ONE_AXIS]),
        (SEQUENCE, lambda x: (2 * x).relu().sum(2), False, [ONE_AXIS]),
        (SEQUENCE, lambda x: x[:, :, 0].amax(1, keepdim=True), True, [VECTORS]),
        (PLANE, nn.Sequential(nn.Sigmoid(), nn.BatchNorm2d(4)), True, [SATURATED]),
        (PLANE, nn.Sequential(nn.ReLU(), nn.BatchNorm2d(4)), True, []),
        (PLANE, nn.InstanceNorm2d(4), True, [NORMS]),
        (VOLUME, nn.InstanceNorm3d(4), True, []),
        (SEQUENCE, torch.relu, True, []),
        (PLANE, lambda x: x.mean((2, 3), keepdim=True), True, []),
        (PLANE, lambda x: x.amax(1), True, [ONE_AXIS]),
        (VOLUME, lambda x: x.mean((2, 3, 4), keepdim=True), True, []),
        (VOLUME, lambda x: x + x.amax((3, 4), keepdim=True), True, [VOLUMES]),
        (VOLUME, lambda x: x + x.relu(), True, []),
        (VOLUME, lambda x: x.mean((2, 3, 4)), True, [ONE_AXIS]),
    ],
)
def test_what_the_user_s_code_has(
    shape: tuple[int, ...],
    code: Callable[[Tensor], Tensor],
    convolved: bool,
    expected: list[str],
    tmp_path: Path,
) -> None:
    network = Code(len(shape), code, convolved)
    assert misread(network, torch.randn(*shape), tmp_path / "net.onnx") == expected


@pytest.mark.parametrize("kind", ["1d", "2d", "3d"])
def test_our_layers_have_none_in_a_file_for_the_runtime(kind: str, tmp_path: Path) -> None:
    layers = [one_hot_layer(kind, pair, seed) for seed, pair in enumerate(ALL_PAIRS)]
    x = sample(kind, 2, dtype=torch.float32)
    model = prune(Branches(kind, layers, adjacent=True).eval(), x).model
    for target in ("ncnn", "opencv", "mnn", "onnxruntime"):
        assert misread(model, x, tmp_path / "net.onnx", target) == []
    portable = misread(model, x, tmp_path / "net.onnx")
    assert portable == {"1d": [ONE_AXIS], "2d": [NORMS], "3d": [VOLUMES]}[kind]


def test_the_command_says_so(tmp_path: Path) -> None:
    """The one line of the portable file goes where the target is named."""
    torch.save(
        Branches("1d", [one_hot_layer("1d", ALL_PAIRS[2])], True).state_dict(), tmp_path / "n"
    )
    arguments = ["convert", str(tmp_path / "n"), "--arch", f"{__name__}:sequences"]
    arguments += ["--input-size", "3x9", "--force"]
    told = run_cli(*arguments, "-o", str(tmp_path / "n.onnx"))
    assert told.exit_code == 0, told.stderr
    text = " ".join(told.stdout.split())
    assert "ncnn misreads without an error: reductions over one axis in layers.0" in text
    assert "convert with --target ncnn" in text
    told = run_cli(*arguments, "--target", "ncnn", "-o", str(tmp_path / "n.onnx"))
    assert told.exit_code == 0, told.stderr
    assert "misreads" not in told.stdout
    text = " ".join(told.stdout.split())
    assert "for ncnn, opset 18, IR 8" in text
    assert "input float32 (1, 3, 9)" in text


def sequences() -> Branches:
    return Branches("1d", [one_hot_layer("1d", ALL_PAIRS[2])], adjacent=True)
