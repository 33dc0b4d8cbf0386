"""Outputs that are no tensors are left out of the file and named; others are refused by type."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from ssn_prune import ExportOptions, export_onnx
from ssn_prune.errors import ExportError
from ssn_prune.onnx_export.outputs import named_outputs
from ssn_prune.verification.onnx_runtime import open_onnx

X = torch.randn(2, 3, generator=torch.Generator().manual_seed(0))


@dataclass
class Answer:
    scores: Tensor
    note: str = "fine"
    boxes: Tensor | None = None


class Opaque:
    """Could hold a tensor."""


class Giving(nn.Module):
    def __init__(self, wrap: object) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.fc, self.wrap = nn.Linear(3, 2), wrap

    def forward(self, x: Tensor) -> object:
        return self.wrap(self.fc(x), x)  # type: ignore[operator]


CASES = {
    "None": (lambda y, _: (y, None), ["output_0"], ("output_1 (None)",)),
    "numbers": (
        lambda y, _: [1, y, 2.5, True],
        ["output_1"],
        ("output_0 (int)", "output_2 (float)", "output_3 (bool)"),
    ),
    "texts": (lambda y, _: {"kind": "a", "y": y}, ["y"], ("kind (str)",)),
    "a size of the input": (lambda y, x: (y, x.shape[0]), ["output_0"], ("output_1 (int)",)),
    "dtype": (lambda y, x: (y, x.dtype), ["output_0"], ("output_1 (dtype)",)),
    "nested": (
        lambda y, _: {"a": (None, y), "b": [y + 1, 3]},
        ["a_1", "b_0"],
        ("a_0 (none)".replace("none", "None"), "b_1 (int)"),
    ),
    "a dataclass": (lambda y, _: Answer(y), ["scores"], ("note (str)", "boxes (None)")),
    "a dataclass in a list": (
        lambda y, _: [Answer(y, boxes=y * 2)],
        ["output_0_scores", "output_0_boxes"],
        ("output_0_note (str)",),
    ),
    "one in a tuple": (lambda y, _: (y,), ["output"], ()),
    "one in a dict": (lambda y, _: {"y": y}, ["output"], ()),
}


@pytest.mark.parametrize("name", CASES)
def test_what_is_no_tensor_is_left_out_and_named(name: str, tmp_path: Path) -> None:
    wrap, names, left_out = CASES[name]
    model, path = Giving(wrap).eval(), tmp_path / "m.onnx"
    stats = export_onnx(model, X, path)
    assert list(stats.outputs) == names
    assert stats.left_out == left_out
    expected = [leaf for _, leaf in named_outputs(model(X)) if isinstance(leaf, Tensor)]
    for value, tensor in zip(open_onnx(path, "m.onnx")((X,)), expected, strict=True):
        torch.testing.assert_close(value, tensor)
    assert not model._forward_hooks
    assert type(model(X)) is type(wrap(X, X))


def test_an_object_of_another_type_is_refused_by_its_type(tmp_path: Path) -> None:
    model = Giving(lambda y, _: {"y": y, "state": Opaque()})
    with pytest.raises(ExportError, match="state of Giving cannot be an output") as caught:
        export_onnx(model, X, tmp_path / "m.onnx")
    assert "an object of type Opaque" in caught.value.found
    assert "\x1b" not in str(caught.value)
    assert not list(tmp_path.iterdir())
    assert not model._forward_hooks


def test_a_hook_of_the_users_own_is_kept_and_seen(tmp_path: Path) -> None:
    model = Giving(lambda y, _: y)
    model.register_forward_hook(lambda _module, _inputs, y: (y * 2, None))
    stats = export_onnx(model, X, tmp_path / "m.onnx", options=ExportOptions(dynamic="none"))
    assert stats.left_out == ("output_1 (None)",)
    (value,) = open_onnx(tmp_path / "m.onnx", "m.onnx")((X,))
    torch.testing.assert_close(value, 2 * model.fc(X))
    assert len(model._forward_hooks) == 1


class Anchors(nn.Module):
    """Returns a constant next to its output."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(1, 2, 3)
        self.register_buffer("anchors", torch.rand(6, 2))

    def forward(self, x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        return self.conv(x), self.anchors


def test_an_output_without_a_batch_axis_is_exported(tmp_path: Path) -> None:
    stats = export_onnx(Anchors(), torch.zeros(2, 1, 5, 5), tmp_path / "m.onnx")
    assert [shape[0] for shape in stats.outputs.values()] == ["batch", 6]


def test_a_complex_output_is_refused(tmp_path: Path) -> None:
    class Spectrum(Anchors):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return torch.fft.fft2(self.conv(x))

    class Pairs(Spectrum):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return torch.view_as_real(super().forward(x))

    x = torch.zeros(2, 1, 5, 5)
    with pytest.raises(ExportError, match="is complex") as caught:
        export_onnx(Spectrum(), x, tmp_path / "m.onnx")
    assert "view_as_real" in str(caught.value.hint)
    export_onnx(Pairs(), x, tmp_path / "m.onnx")
