"""The reference is the network that the user has: every call of every layer is compared."""

from __future__ import annotations

import pytest
import torch
from foreign_layers import HabitualSwitch
from foreign_networks import GUARDS, X, checked, network, raising, refused
from networks import Lambda
from torch import Tensor, nn

from ssn_prune.errors import UnsupportedLayerError
from ssn_prune.surgery.adoption import check_reference
from ssn_prune.surgery.from_reference import adopt_layers


@pytest.mark.parametrize("error", [RuntimeError, ValueError, KeyError, AssertionError, OSError])
@pytest.mark.parametrize("accepts", GUARDS)
def test_a_layer_that_refuses_noise_is_compared(accepts: str, error: type[Exception]) -> None:
    check = checked(network(guard=raising(error, GUARDS[accepts])))
    assert check.compared
    assert check.precision == "float64"
    assert check.layers == 1
    assert 0 < check.worst_layer_error <= check.worst_layer_tolerance < 1.1e-11
    assert check.output_error <= check.tolerance < 1.1e-11
    assert 0 < check.own_float32_error < 1e-6


@pytest.mark.parametrize("accepts", ["width 16", "width % 4"])
def test_a_fused_activation_is_found_though_the_probe_is_refused(accepts: str) -> None:
    error = refused(network(relu=True, guard=raising(RuntimeError, GUARDS[accepts])))
    assert error.problem.startswith("1 (HabitualSwitch)")
    assert "activation" in error.hint


def twice(m: nn.Module, x: Tensor) -> Tensor:
    y = m.n(m.c(x))
    return m.n(y) + y


def test_every_call_of_a_layer_is_compared() -> None:
    torch.manual_seed(0)

    class Second(HabitualSwitch):
        """Wrong where it is given what a norm gave."""

        def forward(self, x: Tensor) -> Tensor:
            return super().forward(x) * (1 + 1e-9 * (abs(float(x.std()) - 0.9) < 0.5))

    right = Lambda(twice, c=nn.Conv2d(3, 8, 3), n=HabitualSwitch(8)).eval()
    check = checked(right)
    assert check.layers == 1
    wrong = Lambda(twice, c=nn.Conv2d(3, 8, 3), n=Second(8)).eval()
    with torch.no_grad():
        wrong.c.weight.mul_(30)
    assert refused(wrong).problem.startswith("n (Second)")


@pytest.mark.parametrize("wrong", [0, 1, 2])
def test_the_first_layer_that_is_off_is_named(wrong: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """The adopted copy is spoilt, so the comparison must be with the given code."""
    torch.manual_seed(0)
    layers = []
    for _ in range(3):
        layers += [nn.Conv2d(3, 3, 3, padding=1), HabitualSwitch(3)]
    model = nn.Sequential(*layers).eval()
    adopted = adopt_layers(model)
    assert check_reference(model, adopted, (X,)).layers == 3
    for spoil in ("eps", "weight", "running_var", "correction"):
        adopted = adopt_layers(model)
        layer = adopted[2 * wrong + 1]
        if spoil == "correction":
            layer.correction = 0
        elif spoil == "eps":
            layer.eps *= 1.001
        else:
            with torch.no_grad():
                getattr(layer, spoil)[1] *= 1 + 2**-22
        with pytest.raises(UnsupportedLayerError) as caught:
            check_reference(model, adopted, (X,))
        assert caught.value.problem.startswith(f"{2 * wrong + 1} (HabitualSwitch)"), spoil


def test_other_code_that_asks_for_the_layers_class_is_found() -> None:
    def forward(m: nn.Module, x: Tensor) -> Tensor:
        return m.n(m.c(x)) * (2 if isinstance(m.n, HabitualSwitch) else 1)

    model = Lambda(forward, c=nn.Conv2d(3, 8, 3), n=HabitualSwitch(8)).eval()
    error = refused(model)
    assert "every layer agrees" in error.found


def test_the_given_network_is_not_changed_and_hooks_on_it_count() -> None:
    model = network()
    model[1].register_forward_hook(lambda _m, _i, y: 2 * y)
    before = {key: value.clone() for key, value in model.state_dict().items()}
    hooks = dict(model[1]._forward_hooks)
    checked(model)
    assert model[1]._forward_hooks == hooks
    for key, value in model.state_dict().items():
        assert torch.equal(value, before[key])
