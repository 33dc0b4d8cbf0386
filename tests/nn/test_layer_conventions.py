"""What torch's users expect of a normalization layer: state, copies, devices, compilers."""

import copy
import io
import pickle

import pytest
import torch
from layer_reference import assert_agree, expected, measured
from layer_samples import maps, trained
from torch import nn
from torch.nn.modules.batchnorm import _NormBase

from ssn_prune.nn.ssn import SSN1d, SSN2d, SSN3d, set_radius
from ssn_prune.nn.switch_norm import SwitchNorm1d, SwitchNorm2d, SwitchNorm3d
from ssn_prune.normalizer import Normalizer

CLASSES = [SSN1d, SSN2d, SSN3d, SwitchNorm1d, SwitchNorm2d, SwitchNorm3d]
FAMILY = pytest.mark.parametrize("layer_class", CLASSES)
PAIR = pytest.mark.parametrize("layer_class", [SSN2d, SwitchNorm2d])
SHAPES = {"1d": (4, 3, 5), "2d": (4, 3, 3, 3), "3d": (4, 3, 2, 3, 2)}
SINGLE = 2.0**-24


def input_for(layer_class):
    return maps(SHAPES[layer_class.__name__[-2:]])


def same(layer, other, x):
    with torch.no_grad():
        return torch.equal(layer(x), other(x))


def state_of(layer):
    return {name: value.clone() for name, value in layer.state_dict().items()}


@FAMILY
def test_layers_are_torch_s_norms_and_show_their_settings(layer_class):
    layer = layer_class(3, 1e-3, None, normalizers=("bn", "IN"), correction=1)
    assert isinstance(layer, _NormBase)
    shown = repr(layer)
    assert shown.startswith(f"{layer_class.__name__}(3, eps=0.001, momentum=None, affine=True")
    assert shown.endswith("correction=1, normalizers=IN+BN, shared_gate=False)")
    assert layer.normalizers == (Normalizer.IN, Normalizer.BN)
    plain = layer_class(3, affine=False, track_running_stats=False)
    assert plain.weight is None is plain.bias
    assert plain.running_mean is None is plain.running_var
    assert plain.num_batches_tracked is None
    assert layer_class(3, normalizers=("IN", "LN")).running_mean is None


@FAMILY
def test_wrong_dimensions_and_channels_are_named(layer_class):
    layer = layer_class(3)
    for dim in (1, 2, 3, 4, 5, 6):
        shape = (2, 3, 4, 4, 4, 4)[:dim]
        if dim in layer.dims:
            assert layer(torch.randn(shape)).shape == shape
            shape = (2, 4, *shape[2:])
        with pytest.raises(ValueError, match=r"expected an input of shape \(N, 3") as info:
            layer(torch.zeros(shape))
        assert str(shape) in str(info.value)


@FAMILY
def test_resets_restore_fresh_statistics_and_parameters(layer_class):
    layer = trained(layer_class, 3, momentum=0.1)
    x = input_for(layer_class)
    layer(x)
    layer.reset_running_stats()
    assert torch.equal(layer.running_mean, torch.zeros(3, dtype=torch.float64))
    assert torch.equal(layer.running_var, torch.ones(3, dtype=torch.float64))
    assert int(layer.num_batches_tracked) == 0
    if hasattr(layer, "fix"):
        layer.fix(Normalizer.BN, Normalizer.IN)
    layer.reset_parameters()
    fresh = layer_class(3).double()
    assert all(torch.equal(v, fresh.state_dict()[n]) for n, v in layer.state_dict().items())
    assert all(torch.equal(a, b) for a, b in zip(layer.gates(), fresh.gates(), strict=True))
    assert same(layer.train(), fresh, x)
    assert not layer_class(3, zero_init=True).weight.any()


@FAMILY
@pytest.mark.parametrize("frozen", [False, True])
@pytest.mark.parametrize("how", ["state dict", "deepcopy", "pickle", "save"])
def test_copies_of_a_trained_layer_compute_the_same(layer_class, how, frozen):
    layer, x = trained(layer_class, 3, correction=1, frozen=frozen), input_for(layer_class)
    layer(x).sum().backward()
    if frozen and hasattr(layer, "fix"):
        with torch.no_grad():
            layer.mean_weight.mul_(0.5)  # as weight decay does
    if how == "state dict":
        copied = layer_class(3).double()
        assert copied.load_state_dict(layer.state_dict(), strict=True)
        assert copied.correction == 1
    elif how == "deepcopy":
        copied = copy.deepcopy(layer)
    elif how == "pickle":
        copied = pickle.loads(pickle.dumps(layer))
    else:
        file = io.BytesIO()
        torch.save(layer.state_dict(), file)
        file.seek(0)
        copied = layer_class(3).double()
        copied.load_state_dict(torch.load(file, weights_only=True))
    for training in (False, True):
        assert same(layer.train(training), copied.train(training), x)
    for name, value in layer.state_dict().items():
        assert torch.equal(copied.state_dict()[name], value), name
    with torch.no_grad():
        copied.weight.add_(1)
    assert not same(layer, copied, x), "the copy shares memory"


@PAIR
def test_old_state_dicts_load(layer_class):
    source = trained(layer_class, 3, correction=1)
    state = state_of(source)
    del state["num_batches_tracked"]
    state["_extra_state"] = state["_extra_state"][:1]
    layer = layer_class(3).double()
    layer.load_state_dict(state, strict=True)
    assert layer.correction == 1
    assert int(layer.num_batches_tracked) == 0
    assert same(layer.eval(), source.eval(), maps((2, 3, 4, 4)))


@FAMILY
def test_the_reference_layout_loads_bit_by_bit(layer_class):
    source = trained(layer_class, 3, correction=1)
    if hasattr(source, "gate_definition"):
        source.gate_definition = "reference"
    state = state_of(source)
    del state["num_batches_tracked"], state["_extra_state"]
    state = {n: v.view(1, 3, 1, 1) if n in ("weight", "bias") else v for n, v in state.items()}
    state = {n: v.view(1, 3, 1) if n.startswith("running") else v for n, v in state.items()}
    layer = layer_class(3, correction=1).double()
    layer.load_state_dict(state, strict=True)
    assert state["weight"].shape == (1, 3, 1, 1)
    assert same(layer.eval(), source.eval(), input_for(layer_class))


@PAIR
def test_states_of_other_normalizers_are_refused(layer_class):
    state = layer_class(3, normalizers=("IN", "BN")).state_dict()
    layer = layer_class(3, normalizers=("LN", "BN"))
    with pytest.raises(ValueError, match=r"trained with IN\+BN, the layer offers LN\+BN"):
        layer.load_state_dict(state)
    with pytest.raises(RuntimeError, match="mean_weight"):
        layer.load_state_dict(nn.BatchNorm2d(3).state_dict())


@pytest.mark.parametrize("options", [{}, {"shared_gate": True}, {"normalizers": ("IN", "LN")}])
@PAIR
def test_layers_can_be_built_without_memory_and_filled_later(layer_class, options):
    source, x = trained(layer_class, 3, **options).float(), maps((2, 3, 4, 4)).float()
    for assign in (False, True):
        layer = layer_class(3, **options, device="meta")
        assert all(value.is_meta for value in layer.state_dict().values() if value.numel() == 3)
        assert layer(x.to("meta")).shape == x.shape
        if not assign:
            layer.to_empty(device="cpu")
        layer.load_state_dict(source.state_dict(), assign=assign)
        assert same(layer.eval(), source.eval(), x)
        assert (layer.mean_weight is layer.var_weight) == bool(options.get("shared_gate"))
        layer.gates()
        layer.state_dict()
        set_radius(layer, 1.0)
    meta = layer_class(3, **options, device="meta")
    meta.load_state_dict(layer_class(3, **options, device="meta").state_dict())


@FAMILY
@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float64])
def test_layers_train_in_the_precision_that_they_are_converted_to(layer_class, dtype):
    layer, x = layer_class(3).to(dtype), input_for(layer_class).to(dtype)
    layer(x).sum().backward()
    floating = [v for v in (*layer.parameters(), *layer.buffers()) if v.is_floating_point()]
    assert all(value.dtype == dtype for value in floating)
    assert all(p.grad.dtype == dtype and p.grad.isfinite().all() for p in layer.parameters())
    assert layer.num_batches_tracked.dtype == torch.int64


def test_conversion_to_synchronised_batch_norm_leaves_the_layers_alone():
    model = nn.Sequential(SSN2d(3), nn.BatchNorm2d(3), SwitchNorm2d(3))
    kinds = [type(m) for m in nn.SyncBatchNorm.convert_sync_batchnorm(model)]
    assert kinds == [SSN2d, nn.SyncBatchNorm, SwitchNorm2d]


@PAIR
@pytest.mark.parametrize("channels_last", [False, True])
def test_autocast_computes_in_float32_and_keeps_dtype_and_layout(layer_class, channels_last):
    form = torch.channels_last if channels_last else torch.contiguous_format
    conv = nn.Conv2d(3, 3, 1).to(memory_format=form)
    layer, x = trained(layer_class, 3).float(), (maps((4, 3, 9, 9)) + 8).float()
    with torch.autocast("cpu", torch.bfloat16):
        inner = conv(x.to(memory_format=form))
        assert inner.dtype == torch.bfloat16
        wanted = expected(layer, inner)
        found = measured(layer, inner)
        assert layer(x).dtype == torch.float32
    for name in ("output", "d input"):
        assert found[name].dtype == torch.bfloat16
        assert found[name].stride() == inner.stride()
        error = (found[name].double() - wanted[name]).abs()
        assert (error <= 2.0**-8 * wanted[name].abs() + 64 * SINGLE).all()
    rest = {name: v for name, v in wanted.items() if name not in ("output", "d input")}
    assert all(found[name].dtype == torch.float32 for name in rest)
    assert_agree({name: found[name] for name in rest}, rest, 64 * SINGLE, terms=4 * 81)


def test_no_graph_is_kept_without_gradients():
    layer, x = trained(SSN2d, 3), maps((4, 3, 3, 3))
    wanted = measured(layer, x)["output"]
    with torch.no_grad():
        y = layer(x.requires_grad_())
    assert y.grad_fn is None
    assert torch.equal(y, wanted)


def test_fix_refuses_what_the_layer_does_not_offer():
    layer = SSN2d(3, normalizers=("IN", "BN"))
    before = {name: value.clone() for name, value in layer.state_dict().items()}
    with pytest.raises(ValueError, match="the layer offers IN, BN, not LN/BN"):
        layer.fix(Normalizer.LN, Normalizer.BN)
    shared = SSN2d(3, shared_gate=True)
    with pytest.raises(ValueError, match="one shared gate cannot select IN/LN"):
        shared.fix(Normalizer.IN, Normalizer.LN)
    assert all(torch.equal(value, before[name]) for name, value in layer.state_dict().items())
    assert not any(int(m.mean_fixed) or int(m.var_fixed) for m in (layer, shared))


@pytest.mark.parametrize("size", [1, 4, 9])
def test_the_output_can_be_changed_in_place(size):
    """As nn.ReLU(inplace=True) does; autograd refuses it for views that a function returns."""
    layer, x = SSN2d(3).train(size > 1), torch.randn(2, 3, size, size, requires_grad=True)
    expected = torch.autograd.grad(layer(x).relu().sum(), x)
    found = torch.autograd.grad(layer(x).relu_().sum(), x)
    assert torch.equal(found[0], expected[0])
