"""The gate in plain numbers against the tensor form, and how gates freeze and never lock."""

import itertools
import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from layer_reference import sparsestmax as push_and_project
from torch import nn

from ssn_prune.nn.single_gate import frozen_gate, softmax_gate, solve_gate, vertex_radius
from ssn_prune.nn.sparsestmax import sparsestmax
from ssn_prune.nn.ssn import SSN1d, SSN2d, set_radius
from ssn_prune.nn.switch_norm import SwitchNorm2d
from ssn_prune.normalizer import Normalizer
from ssn_prune.selection import select

RATIOS = 4 * 2.0**-52  # the sums of K <= 5 numbers of size 1
JACOBIAN = 1e-9  # relative

NUMBERS = st.one_of(
    st.integers(-4, 4).map(float),  # ties
    st.integers(-40, 40).map(lambda i: i / 64),
    st.floats(-3, 3, allow_subnormal=False),
    st.floats(-1e6, 1e6, allow_subnormal=False),
)


def tensor_gate(logits, radius, gradient):
    """Ratios and vector-Jacobian product of the tensor form."""
    z = torch.tensor(logits, dtype=torch.float64, requires_grad=True)
    p = sparsestmax(z, radius)
    (found,) = torch.autograd.grad(p, z, torch.tensor(gradient, dtype=torch.float64))
    return p.detach(), found


def differs(found, wanted, bound):
    """Whether two lists differ by more than ``bound``; NaN equals NaN."""
    pairs = zip(found, wanted, strict=True)
    return any(
        math.isnan(a) != math.isnan(b) or (not math.isnan(a) and abs(a - b) > bound)
        for a, b in pairs
    )


@settings(max_examples=100, deadline=None, derandomize=True)
@given(st.data())
def test_the_plain_gate_is_the_tensor_s_closed_form(data):
    k = data.draw(st.integers(1, 5))
    logits = data.draw(st.lists(NUMBERS, min_size=k, max_size=k))
    gradient = data.draw(st.lists(st.floats(-2, 2), min_size=k, max_size=k))
    share = data.draw(st.sampled_from((0.0, 0.1, 0.35, 0.5, 0.7, 0.999999, 0.9999999, 1.0)))
    radius = data.draw(st.sampled_from((share, share * vertex_radius(k))))
    check_gate(logits, radius, gradient)


def check_gate(logits, radius, gradient):
    gate = solve_gate(list(logits), radius)
    ratios, product = tensor_gate(logits, radius, gradient)
    assert not differs(gate.ratios, ratios.tolist(), RATIOS)
    scale = max(float(product.abs().max()), gate.gain, 1.0)
    assert not differs(gate.vector_jacobian(list(gradient)), product.tolist(), JACOBIAN * scale)


@pytest.mark.parametrize("spread", [1e-6, 0.1, 1.0, 30.0])
@pytest.mark.parametrize("k", [1, 2, 3, 4, 5])
def test_random_gates_equal_the_tensor_form(k, spread):
    generator = torch.Generator().manual_seed(k)
    z, gradient, share = torch.randn(3, 200, k, generator=generator, dtype=torch.float64)
    z = (z * spread).requires_grad_()
    radius = (share[:, 0].abs() * vertex_radius(k)).clamp(max=1)
    p = sparsestmax(z, radius)
    (product,) = torch.autograd.grad(p, z, gradient)
    for i, logits in enumerate(z.tolist()):
        gate = solve_gate(logits, float(radius[i]))
        assert not differs(gate.ratios, p[i].tolist(), RATIOS)
        found = gate.vector_jacobian(gradient[i].tolist())
        assert not differs(found, product[i].tolist(), JACOBIAN * max(1.0, gate.gain))


@pytest.mark.parametrize("radius", [0.0, 0.2, 0.6, 0.75, 1.0])
@pytest.mark.parametrize("k", [1, 2, 3, 4, 5])
def test_tied_gates_equal_the_tensor_form(k, radius):
    for logits in itertools.product((0.0, 0.25, 1.5)[: 2 if k == 5 else 3], repeat=k):
        check_gate(logits, radius, [0.3, -1.0, 0.7, 0.2, 0.5][:k])


@pytest.mark.parametrize("excess", [0.0, 1e-12, -1e-12, 1e-9, -1e-9, 1e-7, -1e-7])
def test_gates_next_to_the_edge_of_a_face_equal_the_tensor_form(excess):
    """The point of the whole simplex would have the last entry ``-excess``."""
    away = [0.7 + excess - 1 / 3, 0.3 - 1 / 3, -excess - 1 / 3]
    radius = math.sqrt(sum(value * value for value in away))
    check_gate([value / 8 for value in away], radius, [0.3, -1.0, 0.7])
    ratios = solve_gate([value / 8 for value in away], radius).ratios
    assert abs(sum(ratios) - 1) <= RATIOS


@pytest.mark.parametrize("radius", [0.0, 0.4, 0.9])
@pytest.mark.parametrize(
    "logits",
    [
        (math.nan, 0.0, 0.1),
        (0.0, math.nan, math.nan),
        (math.inf, 0.0, 0.1),
        (math.inf, math.inf, 0.0),
        (math.inf, -math.inf, 0.0),
        (-math.inf, 0.0, 0.1),
        (0.0, -math.inf, -math.inf),
        (1e300, -1e300, 1.7e308),
    ],
)
def test_not_a_number_and_infinity_give_what_the_tensor_gives(logits, radius):
    ratios = tensor_gate(logits, radius, [1.0, 2.0, 3.0])[0].tolist()
    assert not differs(solve_gate(list(logits), radius).ratios, ratios, RATIOS)


@pytest.mark.parametrize("radius", [0.0, 0.2, 0.45, 0.6, 0.75])
@pytest.mark.parametrize("logits", [(0.1, 0.4, 0.3), (-0.2, 0.9, 0.1), (0.3, 0.31, -2.0)])
def test_the_plain_gate_is_push_and_project(logits, radius):
    z = torch.tensor(logits, dtype=torch.float64, requires_grad=True)
    p = push_and_project(z, radius)
    gradient = [0.3, -1.0, 0.7]
    (product,) = torch.autograd.grad(p, z, torch.tensor(gradient, dtype=torch.float64))
    gate = solve_gate(list(logits), radius)
    assert not differs(gate.ratios, p.tolist(), 1e-13)
    assert not differs(gate.vector_jacobian(gradient), product.tolist(), 1e-10 * (1 + gate.gain))


@pytest.mark.parametrize(
    "logits", [(0.1, 0.4, 0.3), (800.0, -800.0), (0.0, -math.inf, 1.0), (math.nan, 0.0)]
)
def test_the_plain_softmax_gate_is_that_of_torch(logits):
    z = torch.tensor(logits, dtype=torch.float64, requires_grad=True)
    p, gradient = z.softmax(0), [0.3, -1.0, 0.7][: len(logits)]
    (product,) = torch.autograd.grad(p, z, torch.tensor(gradient, dtype=torch.float64))
    gate = softmax_gate(list(logits))
    assert not differs(gate.ratios, p.tolist(), RATIOS)
    assert not differs(gate.vector_jacobian(gradient), product.tolist(), RATIOS)


def test_a_frozen_gate_stops_every_gradient():
    frozen = frozen_gate([0.0, 1.0, 0.0])
    assert frozen.ratios == [0.0, 1.0, 0.0]
    assert frozen.vector_jacobian([math.inf, 2.0, -3.0]) == [0.0, 0.0, 0.0]


class Block(nn.Module):
    """Its last norm starts at weight 0, as in the reference recipe."""

    def __init__(self, layer_class, channels):
        super().__init__()
        self.conv1 = nn.Conv2d(channels, channels, 3, padding=1, bias=False)
        self.norm1 = layer_class(channels)
        self.conv2 = nn.Conv2d(channels, channels, 3, padding=1, bias=False)
        self.norm2 = layer_class(channels, zero_init=True)

    def forward(self, x):
        return torch.relu(x + self.norm2(self.conv2(torch.relu(self.norm1(self.conv1(x))))))


@pytest.mark.parametrize("radius", [0.0, 0.3, 0.7])
@pytest.mark.parametrize("layer_class", [SSN2d, SwitchNorm2d])
def test_no_gate_locks_at_a_tie(layer_class, radius):
    torch.manual_seed(0)
    net = nn.Sequential(
        Block(layer_class, 4), Block(layer_class, 4), nn.Flatten(), nn.Linear(144, 3)
    )
    set_radius(net, radius)
    gates = {
        n: p for n, p in net.named_parameters() if n.split(".")[-1] in ("mean_weight", "var_weight")
    }
    assert len(gates) == 8
    assert all(len(set(gate.tolist())) == 1 for gate in gates.values())
    optimizer = torch.optim.SGD(net.parameters(), lr=0.02, momentum=0.9)
    for _ in range(20):
        x = torch.randn(8, 4, 6, 6) * torch.linspace(0.5, 2, 4).view(-1, 1, 1)
        optimizer.zero_grad()
        nn.functional.cross_entropy(net(x), torch.randint(3, (8,))).backward()
        nn.utils.clip_grad_norm_(list(gates.values()), 1.0)
        optimizer.step()
    for name, gate in gates.items():
        assert gate.isfinite().all(), name
        assert gate.max() - gate.min() > 1e-6, f"{name} is still tied"


def drifting(layer_class=SSN2d):
    layer = layer_class(3)
    with torch.no_grad():
        layer.mean_weight.copy_(torch.tensor([0.1, 0.4, 0.2]))
        layer.var_weight.copy_(torch.tensor([0.3, 0.0, 0.1]))
    return layer, torch.optim.SGD(layer.parameters(), lr=0.3, momentum=0.9, weight_decay=0.5)


@pytest.mark.parametrize("source", ["radius", "fix", "state dict"])
@pytest.mark.parametrize("layer_class", [SSN1d, SSN2d])
def test_an_optimizer_never_moves_a_frozen_gate(layer_class, source):
    layer, optimizer = drifting(layer_class)

    def steps(count):
        for _ in range(count):
            optimizer.zero_grad(set_to_none=False)
            shape = (4, 3) if layer_class is SSN1d else (4, 3, 5, 5)
            layer(torch.randn(shape)).sin().mean().backward()
            optimizer.step()

    steps(2)  # fills the momentum
    if source == "fix":
        layer.fix(Normalizer.LN, Normalizer.IN)
    else:
        set_radius(layer, vertex_radius(3))
    if source == "state dict":
        state = layer.state_dict()
        state = {name: value.clone() for name, value in state.items()}
        layer.load_state_dict(state)
    wanted = [gate.tolist() for gate in layer.gates()]
    assert all(sorted(gate) == [0.0, 0.0, 1.0] for gate in wanted)
    pair = str(select(nn.Sequential(layer)).layers[0].pair)
    for _ in range(3):
        steps(2)
        assert layer.mean_weight.requires_grad
        assert not layer.mean_weight.grad.any()
        assert not layer.var_weight.grad.any()
        assert layer.mean_weight.tolist() != wanted[0], "the optimizer pushes the stored weight"
        assert [gate.tolist() for gate in layer.gates()] == wanted
        assert str(select(nn.Sequential(layer)).layers[0].pair) == pair
    saved = layer.state_dict()
    assert [saved["mean_weight"].tolist(), saved["var_weight"].tolist()] == wanted
    steps(1)
    set_radius(layer, 0.1)
    assert [layer.mean_weight.tolist(), layer.var_weight.tolist()] == wanted


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float64])
@pytest.mark.parametrize("offered", [("IN", "LN", "BN"), ("IN", "BN")])
def test_the_last_radius_freezes_exact_one_hots_in_every_precision(offered, dtype):
    layer = SSN2d(3, normalizers=offered).to(dtype)
    with torch.no_grad():
        layer.mean_weight.copy_(torch.tensor([0.1, 0.4, 0.3])[: len(offered)])
    set_radius(layer, vertex_radius(len(offered)))
    assert int(layer.mean_fixed) == 1
    for gate in (*layer.gates(), layer.mean_weight):
        assert sorted(gate.tolist()) == [0.0] * (len(offered) - 1) + [1.0]
