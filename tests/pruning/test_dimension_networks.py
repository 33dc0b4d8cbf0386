"""Input sizes and foreign layers of networks that are not on images."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from layer_option_checks import assert_equal, outputs
from torch import Tensor, nn

from ssn_prune import load_checkpoint
from ssn_prune.errors import (
    ArgumentError,
    UnsupportedLayerError,
)
from ssn_prune.nn.ssn import SSN1d, SSN2d, SSN3d
from ssn_prune.nn.switch_norm import SwitchNorm1d, SwitchNorm3d
from ssn_prune.surgery.from_reference import adopt_layers


def video_network() -> nn.Module:
    return nn.Sequential(nn.Conv3d(2, 5, 3), SSN3d(5))


def mlp() -> nn.Module:
    return nn.Sequential(nn.Linear(12, 5), SSN1d(5))


def sequence_network() -> nn.Module:
    return nn.Sequential(nn.Conv1d(4, 5, 3), SSN1d(5))


@pytest.mark.parametrize(
    ("factory", "given", "found"),
    [
        ("mlp", (12,), (12,)),
        ("sequence_network", (20,), (4, 20)),
        ("video_network", (6,), (2, 6, 6, 6)),
        ("sequence_network", (4, 20), (4, 20)),
        ("video_network", (6, 8, 7), (2, 6, 8, 7)),
        ("video_network", (2, 6, 8, 7), (2, 6, 8, 7)),
    ],
)
def test_input_sizes(
    tmp_path: Path, factory: str, given: tuple[int, ...], found: tuple[int, ...]
) -> None:
    torch.save(globals()[factory]().state_dict(), tmp_path / "net.pth")
    loaded = load_checkpoint(tmp_path / "net.pth", arch=f"{__name__}:{factory}", input_size=given)
    assert loaded.input_size == found


@pytest.mark.parametrize(
    ("factory", "given"), [("sequence_network", (1, 2, 3)), ("video_network", (8, 8))]
)
def test_input_sizes_of_another_dimension_are_refused(
    tmp_path: Path, factory: str, given: tuple[int, ...]
) -> None:
    torch.save(globals()[factory]().state_dict(), tmp_path / "net.pth")
    with pytest.raises(ArgumentError) as caught:
        load_checkpoint(tmp_path / "net.pth", arch=f"{__name__}:{factory}", input_size=given)
    assert caught.value.expected
    assert caught.value.hint


class ForeignSwitch3d(nn.Module):
    """A layer in the reference layout with one more axis, written from the formula."""

    def __init__(self, features: int, axes: int) -> None:
        super().__init__()
        shape = (1, features, *[1] * axes)
        self.weight = nn.Parameter(torch.rand(shape) + 0.5)
        self.bias = nn.Parameter(torch.randn(shape))
        self.mean_weight = nn.Parameter(torch.randn(3))
        self.var_weight = nn.Parameter(torch.randn(3))
        self.register_buffer("running_mean", torch.randn(1, features, 1))
        self.register_buffer("running_var", torch.rand(1, features, 1) + 0.5)

    def forward(self, x: Tensor) -> Tensor:
        flat = x.flatten(2)
        mean_in, var_in = flat.mean(2, keepdim=True), flat.var(2, keepdim=True)
        mean_ln = mean_in.mean(1, keepdim=True)
        var_ln = (var_in + mean_in**2).mean(1, keepdim=True) - mean_ln**2
        p, q = self.mean_weight.softmax(0), self.var_weight.softmax(0)
        mean = p[0] * mean_in + p[1] * mean_ln + p[2] * self.running_mean
        var = q[0] * var_in + q[1] * var_ln + q[2] * self.running_var
        y = ((flat - mean) / (var + 1e-5).sqrt()).reshape(x.shape)
        return y * self.weight + self.bias


@pytest.mark.parametrize(("axes", "kind"), [(1, SwitchNorm1d), (3, SwitchNorm3d)])
def test_layers_in_the_reference_layout_are_taken_over_in_other_dimensions(
    axes: int, kind: type[nn.Module]
) -> None:
    torch.manual_seed(0)
    model = nn.Sequential(ForeignSwitch3d(4, axes)).double().eval()
    adopted = adopt_layers(model)
    assert type(adopted[0]) is kind
    assert adopted[0].correction == 1
    x = torch.randn(2, 4, *[3] * axes, dtype=torch.float64)
    assert_equal(adopted, outputs(model, x), x)


def test_a_subclass_for_other_dimensions_is_refused() -> None:
    class AnySSN(SSN2d):
        dims = (3, 4, 5)

    with pytest.raises(UnsupportedLayerError, match="dims"):
        adopt_layers(nn.Sequential(AnySSN(3)))
