"""keep_choice: gates that start near the normalizer that the old layer was."""

import pytest
import torch
from torch import nn

from ssn_prune import SSN1d, SSN2d, SSN3d, SwitchNorm1d, SwitchNorm2d, SwitchNorm3d, convert_to_ssn
from ssn_prune.normalizer import Normalizer


@pytest.mark.parametrize("kind", ["ssn", "sn"])
@pytest.mark.parametrize("shared_gate", [False, True])
@pytest.mark.parametrize(
    ("old", "choice"),
    [
        (nn.BatchNorm1d(4), Normalizer.BN),
        (nn.BatchNorm3d(4), Normalizer.BN),
        (nn.InstanceNorm2d(4, affine=True), Normalizer.IN),
        (nn.GroupNorm(1, 4), Normalizer.LN),
    ],
)
def test_gates_can_start_near_the_old_normalizer(kind, shared_gate, old, choice):
    options = {"kind": kind, "shared_gate": shared_gate, "keep_choice": 0.8}
    layer = convert_to_ssn(old.double(), **options).model
    ratios = torch.full((3,), 0.1, dtype=torch.float64)
    ratios[choice] = 0.8
    for gate in layer.gates():
        torch.testing.assert_close(gate.detach(), ratios, rtol=0, atol=1e-15)
    assert (layer.mean_weight is layer.var_weight) == shared_gate
    classes = {"ssn": (SSN1d, SSN2d, SSN3d), "sn": (SwitchNorm1d, SwitchNorm2d, SwitchNorm3d)}
    assert type(layer) in classes[kind]
    if kind == "ssn":
        assert not layer.mean_fixed
        layer.freeze_one_hot_gates()
        assert not layer.mean_fixed


def test_equal_gates_are_the_default():
    layer = convert_to_ssn(nn.BatchNorm2d(4)).model
    for gate in layer.gates():
        torch.testing.assert_close(gate.detach(), torch.full((3,), 1 / 3))


@pytest.mark.parametrize("ratio", [1 / 3, 0.2, 0.0, 1, 1.5, -0.5, float("nan")])
def test_gates_cannot_start_equal_or_one_hot_by_request(ratio):
    with pytest.raises(ValueError, match="must lie between 1/3"):
        convert_to_ssn(nn.BatchNorm2d(4), keep_choice=ratio)
    with pytest.raises(ValueError, match="must lie between 1/2"):
        convert_to_ssn(nn.BatchNorm2d(4), keep_choice=0.5, normalizers=("LN", "BN"))


def test_a_ratio_that_rounds_to_one_is_refused_before_anything_is_edited():
    model = nn.Sequential(nn.BatchNorm2d(4), nn.BatchNorm2d(4).bfloat16())
    with pytest.raises(ValueError, match="would freeze"):
        convert_to_ssn(model, keep_choice=0.999, inplace=True)
    assert [type(module) for module in model] == [nn.BatchNorm2d] * 2
