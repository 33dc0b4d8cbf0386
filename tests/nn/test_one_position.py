"""Training on IN over one position per channel is warned about once, with a cure."""

from __future__ import annotations

import warnings
from pathlib import Path

import pytest
import torch
from cli_checks import run_cli
from torch import Tensor, nn

from ssn_prune import SSN1d, SSN2d, SwitchNorm2d
from ssn_prune.normalizer import Normalizer

IN, LN, BN = Normalizer


@pytest.mark.parametrize(
    ("layer", "shape"),
    [(SSN2d(4), (3, 4, 1, 1)), (SwitchNorm2d(4), (3, 4, 1, 1)), (SSN1d(4), (3, 4))],
)
def test_training_warns_once(layer: nn.Module, shape: tuple[int, ...]) -> None:
    with pytest.warns(UserWarning, match="IN over one position") as caught:
        layer(torch.randn(shape))
    assert len(caught) == 1
    assert "normalizers=('LN', 'BN')" in str(caught[0].message)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        layer(torch.randn(shape))


def test_nothing_else_is_warned_about() -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        SSN2d(4, normalizers=("LN", "BN"))(torch.randn(3, 4, 1, 1))  # the cure
        SSN1d(4, normalizers=("LN", "BN"), correction=2)(torch.randn(3, 4))
        SSN2d(4)(torch.randn(3, 4, 1, 2))
        SSN2d(4).eval()(torch.randn(3, 4, 1, 1))
        with torch.no_grad():
            SSN2d(4)(torch.randn(3, 4, 1, 1))  # statistics are measured, nothing is trained


class Squeezed(nn.Module):
    """A norm on a 1x1 map, as in squeeze-and-excitation blocks."""

    input_size = (3, 8, 8)

    def __init__(self, mean: Normalizer = IN, var: Normalizer = BN) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.conv, self.norm = nn.Conv2d(3, 4, 1), SSN2d(4)
        self.norm.fix(mean, var)

    def forward(self, x: Tensor) -> Tensor:
        return self.norm(self.conv(x.mean((2, 3), keepdim=True))).flatten(1)


@pytest.mark.parametrize(
    ("mean", "var", "noted"), [(IN, BN, True), (BN, IN, True), (LN, BN, False), (BN, BN, False)]
)
def test_convert_notes_it(mean: Normalizer, var: Normalizer, noted: bool, tmp_path: Path) -> None:
    torch.save(Squeezed(mean, var).state_dict(), tmp_path / "net.pth")
    arguments = ("--arch", f"{__name__}:Squeezed", "-o", str(tmp_path / "net.onnx"))
    shown = run_cli("convert", str(tmp_path / "net.pth"), *arguments)
    assert shown.exit_code == 0, shown.stderr
    assert ("IN over one position" in shown.stdout) == noted
