"""recalibrate on networks: what else changes (nothing), failures, loaders, devices."""

import pytest
import torch
from layer_formula import switchable_norm
from population import EXACT, STATISTICS, batches, statistics
from torch import nn

from ssn_prune import SSN2d, SwitchNorm2d
from ssn_prune.errors import ArgumentError
from ssn_prune.normalizer import Normalizer
from ssn_prune.training.recalibrate import recalibrate

IN, LN, BN = Normalizer


class Network(nn.Module):
    def __init__(self):
        super().__init__()
        self.first, self.second = SSN2d(3), nn.BatchNorm2d(3)
        self.drop = nn.Dropout(0.5)
        self.auxiliary = SwitchNorm2d(3)
        self.group = nn.GroupNorm(1, 3)

    def forward(self, x):
        y = self.second(self.drop(self.first(x)))
        return y + (self.auxiliary(y) if self.training else 0)


def network():
    torch.manual_seed(0)
    model = Network().double()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(torch.randn_like(parameter) * 0.3)
        for name in ("first", "second", "auxiliary"):
            getattr(model, name).running_mean.normal_()
    model.second.eval()
    return model


def everything(model):
    tensors = {k: v.clone() for k, v in model.state_dict().items()}
    modes = [(m.training, getattr(m, "momentum", 0)) for m in model.modules()]
    return tensors, modes, [(id(p), p.requires_grad, p.grad) for p in model.parameters()]


def assert_unchanged(model, before, but=()):
    tensors, *others = everything(model)
    for name, value in tensors.items():
        if not name.startswith(but or "-"):
            assert torch.equal(value, before[0][name]), name
    assert others == list(before[1:])


def test_layers_see_batch_statistics_and_everything_else_evaluation():
    model, data = network(), batches()
    before, seen = everything(model), []
    model.second.register_forward_pre_hook(lambda _, x: seen.append(x[0]))
    recalibrate(model, data)
    assert_unchanged(model, before, ("first.running", "first.num", "second.running", "second.num"))
    p, q = model.first.gates()
    for x, y in zip(data, seen, strict=True):  # dropout would change most values
        given = (model.first.weight, model.first.bias, p, q, (None, None))
        wanted = switchable_norm(x, *given, training=True, correction=0)
        torch.testing.assert_close(y, wanted.detach(), **EXACT)
    for name, value in zip(STATISTICS, statistics(seen, "unbiased"), strict=False):
        torch.testing.assert_close(getattr(model.second, name), value, **EXACT)


def broken(data):
    yield from data[:2]
    raise OSError("the disk is gone")


@pytest.mark.parametrize("fault", ["loader", "batch", "no batch", "no steps"])
def test_after_a_failure_everything_is_as_before(fault):
    model, data = network(), batches()
    model.late = nn.BatchNorm2d(3, track_running_stats=False).double()
    before, steps = everything(model), None
    if fault == "loader":
        data = broken(data)
    elif fault == "batch":
        data[2] = data[2][:, :2]
    elif fault == "no batch":
        data = []
    else:
        steps = 0
    wanted = ArgumentError if fault.startswith("no") else (OSError, ValueError)
    with pytest.raises(wanted):
        recalibrate(model, data, steps=steps)
    assert_unchanged(model, before)
    assert (model.late.running_mean, model.late.track_running_stats) == (None, False)


def test_a_network_without_batch_statistics_is_refused():
    model = nn.Sequential(SSN2d(3, normalizers=("IN", "LN")), nn.GroupNorm(1, 3))
    with pytest.raises(ArgumentError, match="no layer whose BN statistics") as caught:
        recalibrate(model, batches())
    assert caught.value.expected


def test_steps_bound_what_is_taken_from_the_loader():
    model, data = SSN2d(3).double(), batches()
    rest = iter(data)
    assert recalibrate(model, rest, steps=2) == 2
    assert len(list(rest)) == 3
    torch.testing.assert_close(model.running_mean, statistics(data[:2], "")[0], **EXACT)
    assert recalibrate(model, data, steps=99) == 5


@pytest.mark.parametrize("form", ["tuple", "list", "dict"])
def test_batches_of_other_structures_are_averaged_too(form):
    model, data = SSN2d(3).double(), batches()
    forward = None
    if form == "dict":
        packed = [{"image": x} for x in data]
        forward = lambda network, batch: network(batch["image"])  # noqa: E731
    else:
        packed = [(x, 1) if form == "tuple" else [x, 1] for x in data]
    recalibrate(model, packed, forward=forward)
    torch.testing.assert_close(model.running_mean, statistics(data, "")[0], **EXACT)


def test_inputs_are_moved_to_the_device():
    class Recorder(nn.Module):
        def forward(self, x):
            seen.append(x.device.type)
            return self.norm(batches()[0])

    model, seen = Recorder(), []
    model.norm = SSN2d(3).double()
    recalibrate(model, [(torch.zeros(2), torch.zeros(2))], device="meta")
    recalibrate(model, [torch.zeros(2, device="meta")])
    recalibrate(model, [torch.zeros(2)])
    assert seen == ["meta", "meta", "cpu"]


def test_statistics_that_are_sums_are_replaced():
    """The reference batch average leaves sums over training steps, which nobody divides."""
    model, data = nn.Sequential(SSN2d(3), nn.ReLU(), SSN2d(3)).double(), batches()
    model[0].fix(BN, BN), model[2].fix(IN, BN)
    for layer in (model[0], model[2]):
        layer.running_mean.fill_(4e3), layer.running_var.fill_(1e5)
    assert model.eval()(data[0]).std() < 0.01
    recalibrate(model, data)
    y = torch.cat([model(x) for x in data])
    assert 0.5 < y.std() < 2


def test_the_dropout_inside_a_layer_of_timm_is_off():
    layers = pytest.importorskip("timm.layers")
    model = layers.BatchNormAct2d(3, drop_layer=lambda **_: nn.Dropout(0.5)).double()
    seen = []
    model.drop.register_forward_hook(lambda drop, *_: seen.append((model.training, drop.training)))
    recalibrate(model, batches())
    assert set(seen) == {(True, False)}
    assert model.drop.training


def test_half_precision_statistics_stay_half():
    model = SSN2d(3).bfloat16()
    recalibrate(model, batches(dtype=torch.bfloat16))
    assert model.running_var.dtype == torch.bfloat16
