"""NaN in the original is named as the original's; infinities are values like others."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from foreign_layers import HabitualSwitch
from helpers import one_hot_gates
from torch import Tensor, nn

from ssn_prune import SSN2d, export_onnx, prune, random_batches, verify
from ssn_prune.errors import SsnPruneError, UnsupportedLayerError, VerificationError
from ssn_prune.verification.verify import require_passed

BATCHES = random_batches([(3, 8, 8)], (1, 2, 3))
NAN, INF = float("nan"), float("inf")


class Ending(nn.Module):
    """A switchable layer with something before and after it."""

    def __init__(self, kind: type, after: Callable[..., object], before: object = None) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.conv, self.norm = nn.Conv2d(3, 8, 3), kind(8)
        self.kind = kind
        self.before, self.after = before or (lambda x: x), after
        if kind is SSN2d:
            one_hot_gates(self.norm, 0, 2)
        self.eval()

    def forward(self, x: Tensor) -> object:
        return self.after(self.norm(self.before(self.conv(x))).amax((2, 3)))


def some_nan(y: Tensor) -> tuple[Tensor, Tensor]:
    return y, torch.cat([y[:, :5], torch.full_like(y[:, 5:], NAN)], 1)


def nan_inside(x: Tensor) -> Tensor:
    return torch.cat([x[:, :7], x[:, 7:] * NAN], 1)


def masked(y: Tensor) -> Tensor:
    return torch.cat([y, torch.full_like(y, -INF), torch.full_like(y[:, :1], INF)], 1)


def softmax_with_a_mask(y: Tensor) -> Tensor:
    mask = torch.zeros(y.shape[1])
    mask[3:] = -INF
    return (y + mask).softmax(1)


def converted(network: nn.Module, path: Path) -> None:
    result = prune(network, BATCHES[1], on_unconverged="exact")
    export_onnx(result.model, BATCHES[1], path)
    require_passed(verify(result, path, BATCHES))


@pytest.mark.parametrize("kind", [SSN2d, HabitualSwitch])
@pytest.mark.parametrize("after", [masked, softmax_with_a_mask])
def test_infinite_outputs_are_compared(
    kind: type, after: Callable[[Tensor], Tensor], tmp_path: Path
) -> None:
    converted(Ending(kind, after), tmp_path / "m.onnx")


def test_an_infinity_of_the_other_sign_is_found(tmp_path: Path) -> None:
    result = prune(Ending(SSN2d, masked), BATCHES[1])
    wrong = prune(Ending(SSN2d, lambda y: -masked(-y).roll(1, 1)), BATCHES[1])
    export_onnx(wrong.model, BATCHES[1], tmp_path / "m.onnx")
    with pytest.raises(VerificationError, match="does not give the original's outputs"):
        require_passed(verify(result, tmp_path / "m.onnx", BATCHES, algebra=False))


class Signed(Ending):
    """Gives another infinity with other layers."""

    def forward(self, x: Tensor) -> Tensor:
        y = self.norm(self.conv(x)).amax((2, 3))
        value = INF if type(self.norm) is self.kind else -INF
        return torch.cat([y, torch.full_like(y, value)], 1)


@pytest.mark.parametrize("kind", [SSN2d, HabitualSwitch])
def test_an_infinity_that_depends_on_the_layer_is_found(kind: type) -> None:
    with pytest.raises(UnsupportedLayerError, match=r"(computes|gives) something else"):
        prune(Signed(kind, masked), BATCHES[1], on_unconverged="exact")


def fails(network: nn.Module, path: Path) -> SsnPruneError:
    with pytest.raises(VerificationError) as caught:
        converted(network, path)
    assert "report" not in str(caught.value.hint)
    return caught.value


@pytest.mark.parametrize("kind", [SSN2d, HabitualSwitch])
def test_nan_in_the_output_is_the_originals(kind: type, tmp_path: Path) -> None:
    error = fails(Ending(kind, some_nan), tmp_path / "m.onnx")
    assert "the original network gives NaN at output 1, 6 of 16 entries" in error.problem


@pytest.mark.parametrize("kind", [SSN2d, HabitualSwitch])
def test_nan_in_a_layer_is_the_originals(kind: type, tmp_path: Path) -> None:
    error = fails(Ending(kind, torch.nan_to_num, nan_inside), tmp_path / "m.onnx")
    assert "gives NaN at norm, output 0, " in error.problem


def test_what_overflows_in_float32_is_the_originals(tmp_path: Path) -> None:
    error = fails(Ending(SSN2d, lambda y: y * 1e30 * 1e30), tmp_path / "m.onnx")
    assert "gives infinity or NaN in float32 at output" in error.problem
