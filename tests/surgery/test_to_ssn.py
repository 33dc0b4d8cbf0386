"""Every kind of norm layer: what it becomes, that it computes the same, and what it keeps."""

import copy
from functools import partial

import pytest
import timm.layers as timm_layers
import torch
from torch import nn
from torchvision.models.convnext import LayerNorm2d

from ssn_prune import convert_to_ssn, select
from ssn_prune.nn.switchable import SwitchableNorm
from ssn_prune.normalizer import Normalizer

IN, LN, BN = Normalizer
TIMM_BN, TIMM_GN = timm_layers.BatchNormAct2d, timm_layers.GroupNormAct
SHAPES = {1: (5, 4, 6), 2: (5, 4, 3, 6), 3: (5, 4, 3, 2, 4)}


def timm_sync():
    return timm_layers.convert_sync_batchnorm(TIMM_BN(4, act_layer=nn.SiLU))


def without_running_statistics():
    norm = nn.BatchNorm2d(4)  # a usual trick to use batch statistics in evaluation
    norm.running_mean = norm.running_var = None
    return norm


# name: how to make it, the shape of its input, the normalizer that it is
SOURCES = {
    "bn1d, no positions": (partial(nn.BatchNorm1d, 4), (5, 4), BN),
    "bn1d": (partial(nn.BatchNorm1d, 4), SHAPES[1], BN),
    "bn2d": (partial(nn.BatchNorm2d, 4, eps=1e-2), SHAPES[2], BN),
    "bn3d": (partial(nn.BatchNorm3d, 4), SHAPES[3], BN),
    "bn, not affine": (partial(nn.BatchNorm2d, 4, affine=False), SHAPES[2], BN),
    "bn, no bias": (partial(nn.BatchNorm2d, 4, bias=False), SHAPES[2], BN),
    "bn, untracked": (partial(nn.BatchNorm2d, 4, track_running_stats=False), SHAPES[2], BN),
    "bn, no buffers": (without_running_statistics, SHAPES[2], BN),
    "bn, bare": (partial(nn.BatchNorm2d, 4, 1e-5, None, False, False), SHAPES[2], BN),
    "sync": (partial(nn.SyncBatchNorm, 4), SHAPES[2], BN),
    "timm bn": (partial(TIMM_BN, 4, act_layer=nn.SiLU, drop_layer=nn.Dropout), SHAPES[2], BN),
    "timm sync": (timm_sync, SHAPES[2], BN),
    "in1d": (partial(nn.InstanceNorm1d, 4), SHAPES[1], IN),
    "in2d": (partial(nn.InstanceNorm2d, 4, eps=1e-2), SHAPES[2], IN),
    "in2d, affine": (partial(nn.InstanceNorm2d, 4, affine=True), SHAPES[2], IN),
    "in3d": (partial(nn.InstanceNorm3d, 4, affine=True), SHAPES[3], IN),
    "gn, groups of 1": (partial(nn.GroupNorm, 4, 4), SHAPES[2], IN),
    "gn, one group": (partial(nn.GroupNorm, 1, 4, eps=1e-2), SHAPES[2], LN),
    "gn, not affine": (partial(nn.GroupNorm, 1, 4, affine=False), SHAPES[2], LN),
    "timm gn1": (partial(timm_layers.GroupNorm1, 4), SHAPES[2], LN),
    "timm gn1 act": (partial(timm_layers.GroupNorm1Act, 4), SHAPES[2], LN),
    "timm gn act": (partial(TIMM_GN, 4, num_groups=1), SHAPES[2], LN),
    "layer norm 1d": (partial(nn.LayerNorm, SHAPES[1][1:]), SHAPES[1], LN),
    "layer norm": (partial(nn.LayerNorm, SHAPES[2][1:], eps=1e-2), SHAPES[2], LN),
    "layer norm 3d": (partial(nn.LayerNorm, SHAPES[3][1:], bias=False), SHAPES[3], LN),
    "layer norm, bare": (partial(nn.LayerNorm, SHAPES[2][1:], 1e-5, False), SHAPES[2], LN),
}
NEAREST = {
    "gn, two groups": (partial(nn.GroupNorm, 2, 4), SHAPES[2], LN),
    "torchvision layer norm": (partial(LayerNorm2d, 4), SHAPES[2], LN),
    "timm layer norm": (partial(timm_layers.LayerNorm2d, 4), SHAPES[2], LN),
    "timm gn": (partial(TIMM_GN, 4, num_groups=2), SHAPES[2], LN),
}


def randomized(make):
    """The layer in float64 with tensors as after training; the same at all positions."""
    torch.manual_seed(0)
    norm = make().double()
    for tensor in (*norm.parameters(), *norm.buffers()):
        if tensor.is_floating_point():
            values = torch.empty_like(tensor[(..., *[slice(1)] * (tensor.dim() - 1))])
            tensor.data.copy_(values.uniform_(0.3, 2).expand_as(tensor))
    return norm


def switchable(model):
    return next(module for module in model.modules() if isinstance(module, SwitchableNorm))


def error(model, old, x):
    return (model(x.clone()) - old(x.clone())).abs().max().item()


@pytest.mark.parametrize("name", SOURCES)
def test_the_new_layer_gives_the_old_output_with_the_gates_at_the_old_normalizer(name):
    make, shape, choice = SOURCES[name]
    old = randomized(make).eval()
    x = torch.randn(shape, dtype=torch.float64) * 2 + 1
    # the shape of LayerNorm is known, that of the others comes from a convolution
    convolution = (nn.Conv1d, nn.Conv1d, nn.Conv2d, nn.Conv3d)[len(shape) - 2](4, 4, 1).double()
    result = convert_to_ssn(nn.ModuleList([convolution, old]))
    new, (record,) = result.model[1], result.layers
    assert not new.training
    assert (record.names, record.old, record.choice) == (("1",), type(old).__name__, choice)
    assert record.equivalent
    layer = switchable(new)
    assert record.new == type(layer).__name__ == f"SSN{max(len(shape) - 2, 1)}d"
    assert layer.mean_weight.dtype == torch.float64
    layer.fix(choice, choice)
    assert error(new, old, x) < 1e-12
    if "no positions" not in name:  # there LN and BN of one sample differ, IN gives the bias
        other = IN if choice is LN else LN
        layer.fix(other, other)
        assert error(new, old, x) > 1e-2


@pytest.mark.parametrize("name", [name for name in SOURCES if SOURCES[name][2] is BN])
def test_batch_norm_trains_as_before(name):
    make, shape, _ = SOURCES[name]
    old = randomized(make)
    if isinstance(getattr(old, "drop", None), nn.Dropout):
        old.drop.p = 0.0
    axes = len(shape) - 2 or 1
    model = nn.ModuleList([(nn.Conv1d, nn.Conv2d, nn.Conv3d)[axes - 1](4, 4, 1).double(), old])
    new = convert_to_ssn(model).model[1]
    layer = switchable(new)
    assert new.training
    assert layer.training
    layer.fix(BN, BN)
    x = torch.randn(shape, dtype=torch.float64)
    before = (
        None if old.running_var is None else (old.running_mean.clone(), old.running_var.clone())
    )
    assert error(new, old, x) < 1e-12
    old(x), new(x)
    if before is None:
        assert layer.running_mean is layer.running_var is None
        return
    assert layer.num_batches_tracked == old.num_batches_tracked == 2
    torch.testing.assert_close(layer.running_mean, old.running_mean, rtol=0, atol=1e-12)
    kept = 0.9**2  # the population variance instead of the unbiased estimate
    batch = x.numel() // 4
    expected = (old.running_var - kept * before[1]) * (batch - 1) / batch + kept * before[1]
    torch.testing.assert_close(layer.running_var, expected, rtol=0, atol=1e-12)


@pytest.mark.parametrize("name", NEAREST)
def test_layers_without_an_equivalent_are_swapped_on_request_only(name):
    make, shape, choice = NEAREST[name]
    old = randomized(make).eval()
    model = nn.Sequential(nn.BatchNorm2d(4), old)
    kept = convert_to_ssn(model)
    assert type(kept.model[1]) is type(old)
    assert kept.layers[1].new is None
    assert "approximate=True" in kept.layers[1].reason
    assert not kept.layers[1].equivalent
    result = convert_to_ssn(model, approximate=True)
    record, layer = result.layers[1], switchable(result.model[1])
    assert (record.new, record.choice, record.equivalent) == ("SSN2d", choice, False)
    assert "none of IN, LN and BN" in record.reason
    layer.fix(LN, LN)
    x = torch.randn(shape, dtype=torch.float64)
    assert error(result.model[1], old, x) > 1e-2
    reference = nn.GroupNorm(1, 4, eps=old.eps).double()
    reference.weight, reference.bias = old.weight, old.bias
    tail = getattr(old, "act", nn.Identity())
    assert (result.model[1](x) - tail(reference(x))).abs().max() < 1e-12


def test_instance_norm_with_running_statistics_has_one_choice_for_each_mode():
    old = randomized(partial(nn.InstanceNorm2d, 4, affine=True, track_running_stats=True))
    result = convert_to_ssn(nn.Sequential(old))
    record, new = result.layers[0], result.model[0]
    assert (record.new, record.choice, record.equivalent) == ("SSN2d", BN, False)
    assert "evaluates with running statistics" in record.reason
    kept = select(convert_to_ssn(nn.Sequential(old), keep_choice=0.9).model).layers[0]
    assert (kept.pair.mean, kept.pair.var) == (BN, BN)
    x = torch.randn(SHAPES[2], dtype=torch.float64)
    trained, bn = copy.deepcopy(new), copy.deepcopy(new).eval()
    trained.fix(IN, IN)
    bn.fix(BN, BN)
    assert error(trained, copy.deepcopy(old), x) < 1e-12
    assert error(bn, old.eval(), x) < 1e-12


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"kind": "bn"}, "'ssn' or 'sn'"),
        ({"correction": 3}, "correction"),
        ({"normalizers": ("BN",)}, "two or more"),
        ({"include": [3]}, "include takes names"),
    ],
)
def test_unknown_options_are_refused(options, message):
    with pytest.raises(ValueError, match=message):
        convert_to_ssn(nn.BatchNorm2d(4), **options)


@pytest.mark.parametrize(
    ("make", "options", "reason"),
    [
        (partial(nn.BatchNorm2d, 4), {"correction": 1}, ""),
        (partial(nn.BatchNorm2d, 4, track_running_stats=False), {"correction": 1}, "n / (n - 1)"),
        (partial(nn.GroupNorm, 1, 4), {"correction": 1}, "n / (n - 1)"),
        (
            partial(nn.BatchNorm2d, 4),
            {"normalizers": ("IN", "LN"), "keep_choice": 0.8},
            "BN is not",
        ),
        (partial(nn.InstanceNorm2d, 4), {"normalizers": ("LN", "BN")}, "IN is not among"),
    ],
)
def test_options_that_change_the_computation_are_reported(make, options, reason):
    old = randomized(make).eval()
    result = convert_to_ssn(nn.Sequential(nn.Conv2d(4, 4, 1).double(), old), **options)
    record, layer = result.layers[0], result.model[1]
    assert record.equivalent == (not reason)
    assert reason in record.reason
    if record.choice in layer.normalizers:
        layer.fix(record.choice, record.choice)
        x = torch.randn(SHAPES[2], dtype=torch.float64)
        assert (error(layer, old, x) < 1e-12) == record.equivalent
    else:
        torch.testing.assert_close(layer.gates()[0], torch.full_like(layer.mean_weight, 0.5))
