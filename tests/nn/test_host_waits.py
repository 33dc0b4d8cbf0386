"""What runs at every training step must not make the host wait for the device."""

import pytest
import torch
from host_waits import NoTransfers, TransferError, pretended_gpu
from torch import nn

from ssn_prune import SSN2d, SwitchNorm2d
from ssn_prune.training.history import GateHistory
from ssn_prune.training.parameters import clip_gate_gradients
from ssn_prune.training.radius import RadiusSchedule

READS = [torch.Tensor.item, torch.Tensor.tolist, bool, torch.Tensor.numpy, torch.Tensor.nonzero]


def test_nothing_waits_for_the_device():
    calls = []
    with pretended_gpu():
        model = nn.Sequential(SSN2d(3), SwitchNorm2d(3), SSN2d(3, normalizers=("LN", "BN")))
        for parameter in model.parameters():
            parameter.grad = torch.ones_like(parameter)
        with NoTransfers():
            history = GateHistory(model)
            schedule = RadiusSchedule(model, 1, history=history, on_frozen=calls.append)
            clip_gate_gradients(model)
            schedule.step()
    assert calls == [model]


@pytest.mark.parametrize("read", READS)
def test_waiting_would_be_noticed(read):
    with pretended_gpu():
        layer = SSN2d(3)
        with pytest.raises(RuntimeError):  # the base of what reading raises
            read(layer.radius)


def test_a_host_index_would_be_noticed():
    with pretended_gpu():
        layer = SSN2d(3)
        with NoTransfers(), pytest.raises(TransferError):
            layer.frozen_ratios[:, [0, 2]] = 1.0


def test_the_history_of_a_network_that_is_spread_over_devices():
    with pretended_gpu():
        model = nn.Sequential(SSN2d(3, device="cpu"), SSN2d(3), SwitchNorm2d(3, device="cpu"))
        history = GateHistory(model)
        history.record(0)
        assert history._ratios[0].shape == (3, 2, 3)  # one tensor, on the first device
        assert history._ratios[0].device.type == "cpu"
