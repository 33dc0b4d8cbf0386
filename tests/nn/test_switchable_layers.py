"""SSN2d and SwitchNorm2d against the formula in float64 and against torch's own layers."""

import math

import pytest
import torch
from layer_formula import OFFERED, ONE_HOT, PAIRS, batch_moments, switchable_norm
from torch import nn
from torch.func import functional_call

from ssn_prune import SSN2d, SwitchNorm2d

MODES = pytest.mark.parametrize("training", [False, True])
CORRECTIONS = pytest.mark.parametrize("correction", [0, 1])
LOGITS = torch.tensor([0.4, -0.1, 0.2]), torch.tensor([-0.2, 0.3, 0.15])


def maps(*shape, dtype=torch.float64, seed=0):
    x = torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    return (x * torch.linspace(0.5, 2, shape[1]).view(-1, 1, 1) + 1.5).to(dtype)


def trained(layer_class, channels=4, *, training=False, seed=0, dtype=torch.float64, **kwargs):
    """A layer with affine parameters and running statistics as after training."""
    generator = torch.Generator().manual_seed(seed)
    layer = layer_class(channels, **kwargs)
    with torch.no_grad():
        layer.weight.uniform_(-1.5, 1.5, generator=generator)
        layer.bias.normal_(generator=generator)
        if layer.running_mean is not None:
            layer.running_mean.normal_(1.0, generator=generator)
            layer.running_var.uniform_(0.3, 3, generator=generator)
    return layer.to(dtype).train(training)


def select(layer, pair):
    with torch.no_grad():
        for name, choice in zip(("mean", "var"), pair, strict=True):
            gate = getattr(layer, f"{name}_weight")
            gate.copy_(torch.tensor(ONE_HOT[choice][: gate.numel()]))
            getattr(layer, f"{name}_fixed").fill_(1)
    return layer


def mix(layer, radius=None):
    with torch.no_grad():
        for gate, logits in zip((layer.mean_weight, layer.var_weight), LOGITS, strict=True):
            gate.copy_(logits[: gate.numel()])
        if radius is not None:
            layer.radius.fill_(radius)
    return layer


def running_of(layer):
    if layer.running_mean is None:
        return None
    return layer.running_mean.double().clone(), layer.running_var.double().clone()


def formula(layer, x, p, q, running):
    return switchable_norm(
        x.double(),
        layer.weight.double(),
        layer.bias.double(),
        p,
        q,
        running,
        training=layer.training,
        correction=layer.correction,
        eps=layer.eps,
    )


@MODES
@CORRECTIONS
@pytest.mark.parametrize("pair", PAIRS, ids="/".join)
def test_every_pair_follows_the_formula(pair, correction, training):
    layer = trained(SSN2d, training=training, correction=correction, eps=1e-3)
    select(layer, pair)
    x, running = maps(3, 4, 5, 6), running_of(layer)
    expected = formula(layer, x, ONE_HOT[pair[0]], ONE_HOT[pair[1]], running)
    torch.testing.assert_close(layer(x), expected, rtol=1e-12, atol=1e-12)


@MODES
@CORRECTIONS
@pytest.mark.parametrize("using_bn", [True, False])
@pytest.mark.parametrize("radius", [None, 0.0, 0.2, 0.55])
def test_soft_gates_follow_the_formula(radius, using_bn, correction, training):
    layer_class = SwitchNorm2d if radius is None else SSN2d
    layer = trained(
        layer_class, training=training, correction=correction, normalizers=OFFERED[using_bn]
    )
    mix(layer, radius)
    x, running = maps(3, 4, 5, 6), running_of(layer)
    p, q = layer.gates()
    if radius is None:
        k = layer.mean_weight.numel()
        torch.testing.assert_close(p, LOGITS[0][:k].double().softmax(0), rtol=0, atol=1e-7)
    assert (p.sum() - 1).abs() < 1e-12
    assert p.numel() == (3 if using_bn else 2)
    expected = formula(layer, x, p, q, running)
    torch.testing.assert_close(layer(x), expected, rtol=1e-12, atol=1e-12)


@MODES
def test_float32_follows_the_formula_at_mean_100(training):
    layer = mix(trained(SSN2d, training=training, dtype=torch.float32), 0.2)
    x = (maps(3, 4, 16, 16) * 0.01 + 100).float()
    with torch.no_grad():
        layer.running_mean.fill_(100.0)
        layer.running_var.fill_(1e-4)
        p, q = (gate.double() for gate in layer.gates())
        expected = formula(layer, x, p, q, running_of(layer))
        error = (layer(x).double() - expected).abs().max()
    # Means near 100 are stored to 3.8e-6, which is 5e-4 of the smallest deviation, 0.0075.
    assert error <= 1e-3 * layer.weight.abs().max()


@MODES
@pytest.mark.parametrize(
    ("layer_class", "using_bn", "radius", "correction"),
    [
        (SSN2d, True, 0.2, 0),
        (SSN2d, True, 0.3, 1),
        (SSN2d, True, 0.6, 1),
        (SSN2d, False, 0.1, 0),
        (SwitchNorm2d, True, None, 1),
        (SwitchNorm2d, False, None, 0),
    ],
)
def test_gradients_match_finite_differences(layer_class, using_bn, radius, correction, training):
    layer = trained(
        layer_class, 3, training=training, correction=correction, normalizers=OFFERED[using_bn]
    )
    mix(layer, radius)
    names = ("weight", "bias", "mean_weight", "var_weight")
    values = [getattr(layer, name).detach().clone().requires_grad_() for name in names]

    def run(x, *parameters):
        return functional_call(layer, dict(zip(names, parameters, strict=True)), (x,))

    assert torch.autograd.gradcheck(run, (maps(2, 3, 2, 3).requires_grad_(), *values))


@CORRECTIONS
def test_running_statistics_use_torch_s_momentum(correction):
    layer = trained(SSN2d, training=True, correction=correction, momentum=0.25)
    before, x = running_of(layer), maps(3, 4, 5, 6)
    layer(x)
    batch = batch_moments(x, correction)
    for now, old, new in zip(running_of(layer), before, batch, strict=True):
        torch.testing.assert_close(now, 0.75 * old + 0.25 * new, rtol=1e-12, atol=1e-12)
    after = running_of(layer)
    layer.eval()(x)
    assert all(torch.equal(a, b) for a, b in zip(running_of(layer), after, strict=True))


@MODES
def test_bn_bn_is_batch_norm(training):
    layer = select(trained(SSN2d, training=training), ("BN", "BN"))
    batch_norm = nn.BatchNorm2d(4, dtype=torch.float64).train(training)
    batch_norm.load_state_dict(layer.state_dict(), strict=False)
    x = maps(3, 4, 5, 6)
    torch.testing.assert_close(layer(x), batch_norm(x), rtol=1e-12, atol=1e-12)
    torch.testing.assert_close(layer.running_mean, batch_norm.running_mean, rtol=1e-12, atol=0)


@MODES
@pytest.mark.parametrize(
    ("pair", "reference"),
    [(("IN", "IN"), nn.InstanceNorm2d(4, affine=True)), (("LN", "LN"), nn.GroupNorm(1, 4))],
)
def test_equal_pairs_are_torch_s_layers(pair, reference, training):
    layer = select(trained(SSN2d, training=training), pair)
    reference = reference.double()
    reference.load_state_dict({"weight": layer.weight.detach(), "bias": layer.bias.detach()})
    x = maps(3, 4, 5, 6)
    torch.testing.assert_close(layer(x), reference(x), rtol=1e-12, atol=1e-12)


@MODES
@pytest.mark.parametrize("pair", PAIRS, ids="/".join)
def test_biased_variance_over_one_position_is_finite(pair, training):
    layer = select(trained(SSN2d, training=training), pair)
    x = maps(3, 4, 1, 1).requires_grad_()
    expected = formula(layer, x, ONE_HOT[pair[0]], ONE_HOT[pair[1]], running_of(layer))
    y = layer(x)
    torch.testing.assert_close(y, expected, rtol=1e-12, atol=1e-12)
    y.square().sum().backward()
    assert x.grad.isfinite().all()


@pytest.mark.parametrize("frozen", [True, False])
@pytest.mark.parametrize("mean", ["IN", "LN", "BN"])
def test_corrected_bn_variance_over_one_position_ignores_the_undefined_ones(mean, frozen):
    layer = select(trained(SSN2d, correction=1), (mean, "BN"))
    if not frozen:
        layer.radius.fill_(1.0)
        layer.mean_fixed.zero_()
        layer.var_fixed.zero_()
    x = maps(3, 4, 1, 1).requires_grad_()
    running = running_of(layer)
    deviation = (running[1] + layer.eps).sqrt().view(-1, 1, 1)
    centre = {"IN": x, "LN": x.mean(1, keepdim=True), "BN": running[0].view(-1, 1, 1)}[mean]
    expected = layer.weight.view(-1, 1, 1) * (x - centre) / deviation
    y = layer(x)
    torch.testing.assert_close(y, expected + layer.bias.view(-1, 1, 1), rtol=1e-12, atol=1e-12)
    y.square().sum().backward()
    assert x.grad.isfinite().all()
    for parameter in layer.parameters():
        assert parameter.grad is None or parameter.grad.isfinite().all()


@pytest.mark.parametrize("layer_class", [SSN2d, SwitchNorm2d])
def test_corrected_variance_over_one_position_is_refused_in_training(layer_class):
    with pytest.raises(ValueError, match=r"at least 2 positions, got \(3, 4, 1, 1\)"):
        layer_class(4, correction=1)(maps(3, 4, 1, 1))


@pytest.mark.parametrize("shape", [(4, 5, 6), (2, 3, 5, 6), (2, 4, 5), (2, 4, 5, 6, 7)])
def test_wrong_input_shape_is_refused(shape):
    with pytest.raises(ValueError, match=r"expected an input of shape \(N, 4, H, W\), got") as info:
        SSN2d(4)(torch.zeros(shape))
    assert str(shape) in str(info.value)


@pytest.mark.parametrize("correction", [3, -1, None])
def test_unknown_correction_is_refused(correction):
    with pytest.raises(ValueError, match="correction must be 0"):
        SSN2d(4, correction=correction)


def test_half_precision_keeps_its_dtype_and_follows_float64():
    layer = mix(trained(SSN2d, dtype=torch.float16), 0.2)
    x = maps(2, 4, 5, 6, dtype=torch.float16)
    y = layer(x)
    assert y.dtype == torch.float16
    p, q = (gate.double() for gate in layer.gates())
    error = (y.double() - formula(layer, x, p, q, running_of(layer))).abs().max()
    assert error <= 8 * torch.finfo(torch.float16).eps


def test_zero_init_starts_the_block_at_its_bias():
    layer = SSN2d(4, zero_init=True)
    assert torch.equal(layer(maps(2, 4, 3, 3, dtype=torch.float32)), torch.zeros(2, 4, 3, 3))
    assert math.isclose(float(layer.radius), 0.0)
