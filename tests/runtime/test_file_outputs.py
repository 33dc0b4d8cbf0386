"""Outputs of activations with a fixed range: which they are, and what is allowed of them."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import onnx
import pytest
import torch
from helpers import one_hot_gates
from torch import Tensor, nn
from torch.nn import functional

from ssn_prune import SSN2d, export_onnx, prune, random_batches, verify
from ssn_prune.errors import VerificationError
from ssn_prune.runtime.file_outputs import FileOutput, onnx_outputs
from ssn_prune.verification.results import RoundingCheck
from ssn_prune.verification.verify import require_passed

BATCHES = random_batches([(3, 8, 8)], (1, 2, 3))
Head = Callable[[Tensor], object]


class Headed(nn.Module):
    def __init__(self, head: Head) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.conv, self.norm, self.head = nn.Conv2d(3, 4, 3), SSN2d(4), head
        one_hot_gates(self.norm, 0, 2)
        self.eval()

    def forward(self, x: Tensor) -> object:
        return self.head(torch.relu(self.norm(self.conv(x))).mean((2, 3)))


def checked(head: Head, path: Path, written: Head | None = None) -> RoundingCheck:
    """Check the file of a network with the head ``written`` against one with ``head``."""
    export_onnx(prune(Headed(written or head), BATCHES[1]).model, BATCHES[1], path)
    result = prune(Headed(head), BATCHES[1])
    found = verify(result, path, BATCHES, algebra=False).rounding
    assert found is not None
    return found


def rare(y: Tensor) -> Tensor:
    """Logits of small probabilities."""
    return y * 0.01 - 12


RANGED: dict[str, tuple[Head, str]] = {
    "sigmoid": (lambda y: torch.sigmoid(rare(y)), "Sigmoid"),
    "hardsigmoid": (lambda y: functional.hardsigmoid(y * 1e-4 - 2.999), "HardSigmoid"),
    "tanh": (lambda y: torch.tanh(y * 1e-4), "Tanh"),
    "softmax": (lambda y: (y * torch.tensor([1.0, 2, 3, 4])).softmax(1), "Softmax"),
    "view": (lambda y: torch.sigmoid(rare(y)).view(-1, 2, 2).transpose(1, 2)[:, 1:], "Sigmoid"),
    "joined": (
        lambda y: torch.cat([torch.tanh(y).unsqueeze(1), torch.sigmoid(y).unsqueeze(1)], 1),
        "Sigmoid+Tanh",
    ),
}
OTHERS: dict[str, Head] = {
    "logits": rare,
    "log_softmax": lambda y: y.log_softmax(1),
    "product": lambda y: torch.sigmoid(rare(y)) * 2,
    "sum": lambda y: torch.sigmoid(rare(y)) + torch.sigmoid(y),
    "joined with logits": lambda y: torch.cat([torch.sigmoid(y), y], 1),
    "clamp": lambda y: y.clamp(0, 1),
    "relu": torch.relu,
}


@pytest.mark.parametrize("name", RANGED)
def test_the_scale_of_a_ranged_activation_is_its_range(name: str, tmp_path: Path) -> None:
    head, activation = RANGED[name]
    found = checked(head, tmp_path / "m.onnx")
    assert onnx_outputs(tmp_path / "m.onnx") == (FileOutput("output", activation),)
    assert found.passed
    assert (found.scale, found.activation, found.output) == (1.0, activation, "output")
    assert found.bound == 4 * found.original_float32_error + 1e-6


@pytest.mark.parametrize("name", OTHERS)
def test_nothing_else_is_loosened(name: str, tmp_path: Path) -> None:
    checked_against = Headed(OTHERS[name])
    export_onnx(prune(checked_against, BATCHES[1]).model, BATCHES[1], tmp_path / "m.onnx")
    assert onnx_outputs(tmp_path / "m.onnx") == (FileOutput("output", None),)


def test_the_scale_of_another_output_is_its_largest_value(tmp_path: Path) -> None:
    found = checked(lambda y: y * 1e-5, tmp_path / "m.onnx")
    assert found.activation is None
    assert 0 < found.scale < 1e-4
    assert not checked(lambda y: y * 1e-5, tmp_path / "n.onnx", lambda y: y * 1e-5 + 5e-7).passed


@pytest.mark.parametrize(("error", "passes"), [(5e-7, True), (3e-6, False)])
def test_an_error_above_a_millionth_of_the_range_is_found(
    error: float, passes: bool, tmp_path: Path
) -> None:
    def off(y: Tensor) -> Tensor:
        probability = torch.sigmoid(rare(y)) + error
        return torch.sigmoid((probability / (1 - probability)).log())

    found = checked(lambda y: torch.sigmoid(rare(y)), tmp_path / "m.onnx", off)
    assert found.activation == "Sigmoid"
    assert found.passed is passes


def test_the_output_that_is_off_is_named(tmp_path: Path) -> None:
    def two(factor: float) -> Head:
        return lambda y: {"boxes": y * factor, "scores": torch.sigmoid(y)}

    result = prune(Headed(two(1.0)), BATCHES[1])
    export_onnx(prune(Headed(two(1.001)), BATCHES[1]).model, BATCHES[1], tmp_path / "m.onnx")
    with pytest.raises(VerificationError, match="boxes is off") as caught:
        require_passed(verify(result, tmp_path / "m.onnx", BATCHES, algebra=False))
    assert "the range of" not in caught.value.expected


def test_what_is_no_onnx_file_has_no_outputs(tmp_path: Path) -> None:
    path = tmp_path / "m.onnx"
    path.write_bytes(b"this is no graph")
    assert onnx_outputs(path) == ()


def test_many_joins_of_one_value_take_no_time(tmp_path: Path) -> None:
    nodes = [onnx.helper.make_node("Sigmoid", ["x"], ["v0"])]
    nodes += [
        onnx.helper.make_node("Concat", [f"v{i}", f"v{i}"], [f"v{i + 1}"], axis=0)
        for i in range(60)
    ]
    values = [onnx.helper.make_tensor_value_info(name, 1, None) for name in ("x", "v60")]
    graph = onnx.helper.make_graph(nodes, "g", values[:1], values[1:])
    onnx.save(onnx.helper.make_model(graph), tmp_path / "m.onnx")
    assert onnx_outputs(tmp_path / "m.onnx") == (FileOutput("v60", "Sigmoid"),)
