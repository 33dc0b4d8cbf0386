"""Placement of a layer that has no axes, device or dtype of its own."""

import pytest
import torch
from torch import nn
from torchvision import models

from ssn_prune import SSN1d, SSN2d, SSN3d, convert_to_ssn, synchronize
from ssn_prune.nn.ssn import SSN
from ssn_prune.normalizer import Normalizer


class Head(nn.Module):
    def __init__(self):
        super().__init__()
        self.conv = nn.Conv2d(3, 4, 1)
        self.time = nn.Linear(2, 4)
        self.norm = nn.GroupNorm(1, 4)


@pytest.mark.parametrize(
    ("model", "expected"),
    [
        (nn.Sequential(nn.Conv3d(3, 4, 1), nn.SyncBatchNorm(4)), [SSN3d]),
        (nn.Sequential(nn.SyncBatchNorm(3), nn.ConvTranspose1d(3, 4, 1)), [SSN1d]),
        (nn.Sequential(nn.Linear(3, 4), nn.SyncBatchNorm(4)), [SSN1d]),
        (nn.Sequential(nn.Linear(3, 5), nn.ReLU(), nn.SyncBatchNorm(4)), [SSN1d]),
        (nn.ModuleList([models.resnet18(), nn.Sequential(nn.Linear(5, 4), nn.SyncBatchNorm(4))]),
         [SSN2d] * 20 + [SSN1d]),
        (nn.ModuleList([nn.Conv1d(3, 4, 1), nn.Conv2d(3, 5, 1), nn.GroupNorm(1, 4)]), [SSN1d]),
        (nn.ModuleList([nn.Conv1d(3, 4, 1), nn.Conv2d(3, 4, 1), nn.GroupNorm(1, 3)]), [SSN2d]),
        (nn.ModuleList([nn.Conv2d(3, 4, 1), nn.Conv3d(3, 4, 1), nn.GroupNorm(1, 4)]), [SSN3d]),
        (Head(), [SSN2d]),
        (nn.Sequential(nn.SyncBatchNorm(4)), [SSN2d]),
    ],
)  # fmt: skip
def test_the_number_of_axes_follows_from_the_neighbours(model, expected):
    result = convert_to_ssn(model)
    assert [type(m) for m in result.model.modules() if isinstance(m, SSN)] == expected


def test_synchronized_statistics_are_named_in_the_reason():
    model = nn.SyncBatchNorm.convert_sync_batchnorm(models.resnet18())
    result = convert_to_ssn(model, normalizers=("LN", "BN"))
    assert all(f"ssn_prune.{synchronize.__name__}" in record.reason for record in result.layers)
    assert all(record.equivalent for record in result.layers)
    assert result.model.bn1.normalizers == (Normalizer.LN, Normalizer.BN)


def test_a_layer_without_tensors_is_placed_like_its_neighbours():
    model = nn.Sequential(
        nn.InstanceNorm2d(3),
        nn.Conv2d(3, 3, 1, device="meta"),
        nn.InstanceNorm2d(3),
        nn.Conv2d(3, 3, 1, dtype=torch.float64),
        nn.ReLU(),
        nn.InstanceNorm2d(3),
    )
    layers = [m for m in convert_to_ssn(model).model if isinstance(m, SSN)]
    assert [layer.mean_weight.is_meta for layer in layers] == [True, True, False]
    assert layers[2].mean_weight.dtype == layers[2].running_var.dtype == torch.float64
    alone = convert_to_ssn(nn.InstanceNorm2d(3)).model
    assert alone.mean_weight.dtype == torch.get_default_dtype()
