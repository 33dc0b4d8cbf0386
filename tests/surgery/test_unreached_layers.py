"""Foreign layers that the example inputs do not reach: compared on noise, reported, or refused."""

from __future__ import annotations

from pathlib import Path

import onnx
import pytest
import torch
from foreign_layers import HabitualSwitch
from torch import Tensor, nn

from ssn_prune import ConvertOptions, convert, load_checkpoint, prune
from ssn_prune.console.verification import verification_lines
from ssn_prune.errors import UnsupportedLayerError
from ssn_prune.surgery.adoption import check_reference
from ssn_prune.surgery.from_reference import adopt_layers
from ssn_prune.verification.results import VerificationReport

X = torch.randn(2, 3, 16, 16, generator=torch.Generator().manual_seed(3))
BRIGHT = X + 5


def only_width_16(x: Tensor) -> None:
    if x.shape[-1] != 16:
        raise RuntimeError("the width must be 16")


class Branching(nn.Module):
    """Bright images take another layer."""

    def __init__(self, rare: nn.Module) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.conv, self.head = nn.Conv2d(3, 8, 3, padding=1), nn.Conv2d(8, 4, 1)
        self.usual, self.rare = HabitualSwitch(8), rare
        self.eval()

    def forward(self, x: Tensor) -> Tensor:
        y = self.conv(x)
        return self.head(self.usual(y) if x.mean() < 1 else self.rare(y))


def test_a_layer_that_agrees_on_noise_is_reported_and_right_where_it_runs() -> None:
    model = Branching(HabitualSwitch(8))
    result = prune(model, X, on_unconverged="exact")
    check = result.report.adoption
    assert check is not None
    assert (check.layers, check.layers_on_noise, check.layers_not_compared) == (1, ("rare",), ())
    with torch.no_grad():
        found, expected = result.model(BRIGHT), model.double()(BRIGHT.double())
    assert float((found - expected).abs().max() / expected.abs().max()) < 2e-5


@pytest.mark.parametrize("factor", [0.9, 1.1])
def test_a_layer_that_differs_slightly_is_found_on_noise(factor: float) -> None:
    model = Branching(HabitualSwitch(8))
    adopted = adopt_layers(model)
    assert check_reference(model, adopted, (X,)).layers_on_noise == ("rare",)
    rare = adopted.rare
    rare.eps *= factor
    with pytest.raises(UnsupportedLayerError, match=r"rare \(HabitualSwitch\) computes something"):
        check_reference(model, adopted, (X,))


def test_a_layer_of_which_nothing_is_known_needs_a_word() -> None:
    model = Branching(HabitualSwitch(8, guard=only_width_16, relu=True))
    with pytest.raises(UnsupportedLayerError, match="rare") as caught:
        prune(model, X, on_unconverged="exact")
    assert "`allow_unverified_layers=True`" in str(caught.value.hint)
    allowed = prune(model, X, on_unconverged="exact", allow_unverified_layers=True)
    check = allowed.report.adoption
    assert check is not None
    assert check.layers_not_compared == ("rare",)
    text = "\n".join(verification_lines(VerificationReport(None, None, check)))
    assert "not compared with your code" in text
    assert "rare" in text


def test_inputs_that_reach_the_layer_decide() -> None:
    right = Branching(HabitualSwitch(8, guard=only_width_16))
    right.usual = nn.Identity()
    check = prune(right, BRIGHT, on_unconverged="exact").report.adoption
    assert check is not None
    assert (check.layers, check.layers_on_noise, check.layers_not_compared) == (1, (), ())
    wrong = Branching(HabitualSwitch(8, guard=only_width_16, relu=True))
    with pytest.raises(UnsupportedLayerError, match="rare"):
        prune(wrong, BRIGHT, on_unconverged="exact")


FACTORY = """
from foreign_layers import HabitualSwitch
from torch import nn

def guard(x):
    if x.shape[-1] != 16:
        raise RuntimeError("the width must be 16")

class Network(nn.Module):
    input_size = (3, 16, 16)

    def __init__(self):
        super().__init__()
        self.conv = nn.Conv2d(3, 8, 3)
        self.norm, self.unused = HabitualSwitch(8), HabitualSwitch(8, guard=guard)

    def forward(self, x):
        return self.norm(self.conv(x)).mean((2, 3))
"""


def test_the_file_says_which_layers_were_not_compared(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "with_unused_layer.py").write_text(FACTORY)
    monkeypatch.syspath_prepend(str(tmp_path))
    import with_unused_layer  # type: ignore[import-not-found]

    torch.save(with_unused_layer.Network().state_dict(), tmp_path / "network.pth")
    loaded = load_checkpoint(tmp_path / "network.pth", arch="with_unused_layer:Network")
    options = ConvertOptions(on_unconverged="exact", allow_unverified_layers=True)
    convert(loaded, tmp_path / "network.onnx", options)
    metadata = {p.key: p.value for p in onnx.load(tmp_path / "network.onnx").metadata_props}
    assert "unused" in metadata["ssn_prune.unverified_layers"]
