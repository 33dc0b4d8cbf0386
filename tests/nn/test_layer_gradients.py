"""Derivatives of the layers: finite differences, second order, and what autograd keeps."""

import pytest
import torch
from layer_reference import SETS, assert_agree, expected, output_gradient
from layer_samples import EXACT, maps, trained
from torch.autograd import gradcheck, gradgradcheck
from torch.func import functional_call
from torch.utils.checkpoint import checkpoint

from ssn_prune.nn.sparsestmax import sparsestmax
from ssn_prune.nn.ssn import SSN1d, SSN2d
from ssn_prune.nn.switch_norm import SwitchNorm1d, SwitchNorm2d, SwitchNorm3d
from ssn_prune.normalizer import Normalizer

MODES = pytest.mark.parametrize("training", [True, False])
ONE_POSITION = (4, 3, 1, 1)


def as_function(layer, frozen_gates=False):
    """The layer as a function of its input and parameters; and values of those."""
    values = {n: p.detach().clone() for n, p in layer.named_parameters()}
    if frozen_gates:
        values = {n: p for n, p in values.items() if not n.endswith("_weight")}
    statistics = {n: b.clone() for n, b in layer.named_buffers()}

    def run(x, *parameters):
        # Fresh statistics each time: training moves them, and nothing may depend on that.
        state = {n: b.clone() for n, b in statistics.items()}
        state |= dict(zip(values, parameters, strict=True))
        return functional_call(layer, state, (x,))

    return run, [value.requires_grad_() for value in values.values()]


@MODES
@pytest.mark.parametrize(
    ("layer_class", "shape", "options"),
    [
        (SSN2d, (2, 3, 2, 2), {}),
        (SSN2d, (2, 1, 9, 8), {"correction": 1}),
        (SSN2d, (2, 3, 2, 2), {"shared_gate": True, "radius": 0.6}),
        (SSN2d, (4, 3, 1, 1), {"groups": 2}),
        (SSN2d, (4, 2, 2, 2), {"frozen": True}),
        (SSN1d, (4, 3), {}),
        (SwitchNorm1d, (3, 2, 5), {"affine": False}),
        (SwitchNorm3d, (2, 2, 2, 2, 2), {"normalizers": ("IN", "BN"), "correction": 1}),
    ],
)
def test_first_derivatives_match_finite_differences(layer_class, shape, options, training):
    run, values = as_function(trained(layer_class, shape[1], **options).train(training))
    assert gradcheck(run, (maps(shape).requires_grad_(), *values), atol=1e-7, rtol=1e-6)


@MODES
@pytest.mark.parametrize("offered", SETS, ids="+".join)
@pytest.mark.parametrize("shape", [(2, 2, 2, 2), (2, 2, 1, 1), (4, 2)])
def test_second_derivatives_with_softmax_gates_match_finite_differences(shape, offered, training):
    layer_class = SwitchNorm1d if len(shape) == 2 else SwitchNorm2d
    layer = trained(layer_class, 2, normalizers=offered, eps=0.1).train(training)
    run, values = as_function(layer)
    inputs = (maps(shape).requires_grad_(), *values)
    assert gradgradcheck(run, inputs, atol=1e-6, rtol=1e-5)


@MODES
@pytest.mark.parametrize(
    "options",
    [{}, {"groups": 2}, {"correction": 1}, {"affine": False}, {"frozen": True}, {"radius": 0.6}],
    ids=str,
)
def test_second_derivatives_with_fixed_ratios_match_finite_differences(options, training):
    layer = trained(SSN2d, 2, eps=0.1, **options).train(training)
    layer.requires_grad_(False)
    run, values = as_function(layer, frozen_gates=True)
    assert gradgradcheck(run, (maps((2, 2, 2, 2)).requires_grad_(), *values), atol=1e-6, rtol=1e-5)


@MODES
@pytest.mark.parametrize("layer_class", [SSN2d, SwitchNorm2d])
@pytest.mark.parametrize("shape", [(4, 3, 3, 3), (2, 3, 9, 8)])
@pytest.mark.parametrize("options", [{}, {"correction": 1}, {"frozen": True}, {"groups": 2}])
def test_create_graph_changes_no_gradient(options, shape, layer_class, training):
    if not training:
        options = {name: value for name, value in options.items() if name != "groups"}
    layer = trained(layer_class, 3, **options).train(training)
    check_create_graph(layer, maps(shape))


@pytest.mark.parametrize("layer_class", [SSN2d, SwitchNorm2d])
def test_create_graph_counts_a_shared_gate_once(layer_class):
    check_create_graph(trained(layer_class, 3, shared_gate=True), maps((4, 3, 3, 3)))


@pytest.mark.parametrize("mean", list(Normalizer))
def test_create_graph_ignores_undefined_variances_that_are_not_selected(mean):
    layer = trained(SSN2d, 3, correction=1).eval()
    layer.fix(mean, Normalizer.BN)
    check_create_graph(layer, maps(ONE_POSITION))


def check_create_graph(layer, x):
    wanted = expected(layer, x)
    x = x.detach().requires_grad_()
    parameters = dict(layer.named_parameters())
    y = layer(x)
    gradient = output_gradient(y, "random")
    found = torch.autograd.grad(y, [x, *parameters.values()], gradient, create_graph=True)
    names = ["d input", *(f"d {name}" for name in parameters)]
    gradients = {name: g.detach() for name, g in zip(names, found, strict=True)}
    assert_agree(gradients, {name: wanted[name] for name in names}, EXACT)


def test_a_gradient_penalty_reaches_sparsestmax_gates():
    """d/dz of a gradient with respect to x needs first derivatives of the gate only."""
    layer, x = trained(SSN2d, 3), maps((4, 3, 3, 3)).requires_grad_()

    def penalty(run):
        return torch.autograd.grad(run().pow(3).sum(), x, create_graph=True)[0].square().mean()

    penalty(lambda: layer(x)).backward()
    step, logits = 1e-6, layer.mean_weight
    for i in range(3):
        found = []
        for sign in (1, -1):
            moved = logits.detach().clone()
            moved[i] += sign * step
            found.append(penalty(lambda m=moved: functional_call(layer, {"mean_weight": m}, x)))
        difference = float((found[0] - found[1]).detach() / (2 * step))
        scale = float(logits.grad.abs().max())
        assert abs(difference - float(logits.grad[i])) <= 1e-6 * scale


def test_second_derivatives_of_sparsestmax_are_refused():
    z = torch.tensor([0.1, 0.4, 0.3], dtype=torch.float64, requires_grad=True)
    (gradient,) = torch.autograd.grad(sparsestmax(z, 0.3).square().sum(), z, create_graph=True)
    with pytest.raises(RuntimeError, match=r"(?i)twice|second"):
        gradient.sum().backward()


@pytest.mark.parametrize("name", ["input", "weight", "mean_weight"])
def test_second_derivatives_through_the_gate_are_refused_or_right(name):
    layer, x = trained(SSN2d, 3), maps((4, 3, 3, 3)).requires_grad_()
    leaf = x if name == "input" else getattr(layer, name)

    def penalty():
        y = layer(x).sin().sum()
        found = torch.autograd.grad(y, [x, layer.mean_weight], create_graph=True)
        return found[0].square().sum() + found[1].square().sum()

    try:
        (gradient,) = torch.autograd.grad(penalty(), leaf)
    except RuntimeError as error:
        assert any(word in str(error) for word in ("twice", "second"))  # noqa: PT017  # or right
        return
    step, values = 1e-6, leaf.detach().clone()
    direction = maps(leaf.shape, seed=1) if name == "input" else torch.linspace(-1, 1, 3).double()
    ends = []
    for sign in (1, -1):
        leaf.data.copy_(values + sign * step * direction)
        ends.append(float(penalty().detach()))
    difference = (ends[0] - ends[1]) / (2 * step)
    assert abs(difference - float((gradient * direction).sum())) <= 1e-5 * abs(difference)


@pytest.mark.parametrize("size", [3, 9])
def test_a_second_pass_back_gives_the_same_bits(size):
    layer, x = trained(SSN2d, 3), maps((4, 3, size, size)).requires_grad_()
    y = layer(x)
    inputs, gradient = [x, *layer.parameters()], output_gradient(y, "random")
    first = torch.autograd.grad(y, inputs, gradient, retain_graph=True)
    second = torch.autograd.grad(y, inputs, gradient)
    assert all(torch.equal(a, b) for a, b in zip(first, second, strict=True))


@pytest.mark.parametrize("size", [3, 9])
@pytest.mark.parametrize("name", ["weight", "bias", "mean_weight", "var_weight", "input"])
def test_a_single_gradient_can_be_asked_for(name, size):
    layer, x = trained(SSN2d, 3), maps((4, 3, size, size))
    wanted = expected(layer, x)
    layer.requires_grad_(False)
    leaf = x.detach() if name == "input" else getattr(layer, name)
    leaf.requires_grad_()
    y = layer(leaf if name == "input" else x)
    y.backward(output_gradient(y, "random"))
    assert_agree({name: leaf.grad}, {name: wanted[f"d {name}"]}, 4 * EXACT)
    filled = {n for n, p in layer.named_parameters() if p.grad is not None}
    assert filled == {name} - {"input"}


def test_activation_checkpointing_gives_the_same_gradients():
    plain, again = trained(SSN2d, 3), trained(SSN2d, 3)
    x, y = maps((4, 3, 9, 9)).requires_grad_(), maps((4, 3, 9, 9)).requires_grad_()
    plain(x).pow(3).sum().backward()
    checkpoint(again, y, use_reentrant=False).pow(3).sum().backward()
    assert torch.equal(x.grad, y.grad)
    assert torch.equal(plain.mean_weight.grad, again.mean_weight.grad)


@pytest.mark.parametrize("frozen", [True, False])
def test_saving_the_state_between_forward_and_backward_does_no_harm(frozen):
    layer, x = trained(SSN2d, 3, frozen=frozen), maps((4, 3, 3, 3)).requires_grad_()
    y = layer(x)
    layer.state_dict()
    y.sum().backward()


@pytest.mark.parametrize("training", [True, False])
def test_changing_the_input_in_place_is_noticed(training):
    layer, x = trained(SSN2d, 3).train(training), maps((4, 3, 3, 3))
    y = layer(x)
    x.add_(1)
    with pytest.raises(RuntimeError, match="modified by an inplace operation"):
        y.sum().backward()


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("layer_class", [SSN2d, SwitchNorm2d])
def test_the_layer_keeps_its_input_and_five_per_cent(layer_class, dtype):
    layer = trained(layer_class, 8).float()
    x = maps((4, 8, 32, 32)).to(dtype).requires_grad_()
    saved = []

    def pack(tensor):
        saved.append(tensor.numel() * tensor.element_size())
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
        y = layer(x)
    kept = x.numel() * x.element_size()
    assert kept <= sum(saved) + attribute_bytes(y.grad_fn) <= 1.05 * kept


def attribute_bytes(node):
    """What the node holds besides its saved tensors."""
    arrays, pending = {}, list(vars(node).values())
    while pending:
        value = pending.pop()
        if isinstance(value, (list, tuple)):
            pending += value
        elif hasattr(value, "nbytes"):
            arrays[id(value)] = value.nbytes
        elif type(value).__module__.endswith("mixing"):
            pending += vars(value).values()
    return sum(arrays.values())


def test_sums_of_the_gradient_over_small_planes_are_not_rounded():
    """A mean gate's gradient is a small difference of them."""
    torch.manual_seed(0)
    x, grad = torch.randn(1, 8, 7, 7), torch.randn(1, 8, 7, 7)
    grad[..., 0, 0] += 2.0**20  # in float32 these two swallow a hundredth of the sum of the rest
    grad[..., 3, 3] -= 2.0**20
    layer, exact = SSN2d(8), SSN2d(8).double()
    layer(x).backward(grad)
    exact(x.double()).backward(grad.double())
    torch.testing.assert_close(
        layer.mean_weight.grad.double(), exact.mean_weight.grad, rtol=1e-5, atol=0
    )
