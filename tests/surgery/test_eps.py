"""The eps of a layer is found, whatever it is called and wherever it is kept."""

from __future__ import annotations

import pytest
import torch
from foreign_layers import HabitualSwitch
from foreign_networks import GUARDS, X, checked, network, raising, refused
from torch import Tensor, nn

from ssn_prune import prune
from ssn_prune.surgery.from_reference import adopt_layers


@pytest.mark.parametrize("scale", [1.0, 1e-2, 1e-4])
@pytest.mark.parametrize("name", ["epsilon", "variance_eps", "_e", "regulariser"])
@pytest.mark.parametrize("guarded", [False, True])
def test_eps_under_another_name_is_found(name: str, scale: float, guarded: bool) -> None:
    guard = raising(ValueError, GUARDS["width 16"]) if guarded else None
    checked(network(scale, eps=1e-8, eps_name=name, guard=guard))


class Hidden(HabitualSwitch):
    """Its eps is in a list, so that no attribute is a number."""

    eps = property(lambda _self: None)

    def __init__(self, channels: int, value: float, guard: object = None) -> None:
        super().__init__(channels, eps_name="hidden", eps=[value], guard=guard)

    def forward(self, x: Tensor) -> Tensor:
        kept, self.hidden = self.hidden, self.hidden[0]
        try:
            return super().forward(x)
        finally:
            self.hidden = kept


@pytest.mark.parametrize("value", [0.05, 1e-3, 3.7e-5, 1e-5, 2e-6, 1e-8, 1e-12])
def test_an_eps_that_no_attribute_holds_is_measured(value: float) -> None:
    model = network(1e-2, kind=Hidden, value=value)
    assert adopt_layers(model)[1].eps == value
    checked(model)


@pytest.mark.parametrize("factor", [1.1, 0.5, 0.0])
def test_an_eps_that_the_code_changes_is_measured(factor: float) -> None:
    checked(network(1e-2, factor=factor))


def test_an_eps_in_float32_keeps_its_value() -> None:
    model = network(1e-2, eps=torch.tensor(1e-5))
    assert adopt_layers(model)[1].eps == float(torch.tensor(1e-5)) != 1e-5
    checked(model)


def test_without_a_probe_the_usual_eps_is_a_guess_that_is_checked() -> None:
    guard = raising(ValueError, GUARDS["width 16"])
    checked(network(kind=Hidden, value=1e-5, guard=guard))
    error = refused(network(kind=Hidden, value=1.1e-5, guard=guard))
    assert error.hint.startswith("eps is 1.1e-05: give the layer an attribute eps of that value")


class Cured(Hidden):
    """What the hint says, done."""

    eps = 1.1e-5


def test_an_attribute_eps_is_the_cure() -> None:
    guard = raising(ValueError, GUARDS["width 16"])
    checked(network(kind=Cured, value=1.1e-5, guard=guard))


def test_one_parameter_for_both_gates_is_adopted() -> None:
    assert checked(network(shared=True)).compared
    guard = raising(ValueError, GUARDS["width 16"])
    for options in ({"scale": 1e-3}, {"eps": 1e-3}, {"guard": guard}):
        assert checked(network(shared=True, **options)).compared


@pytest.mark.parametrize("order", [(1, 0, 2), (2, 1, 0)])
def test_a_shared_gate_in_another_order_is_refused(order: tuple[int, ...]) -> None:
    assert "the gates' order is" in refused(network(shared=True, order=order)).hint


def test_a_shared_gate_in_a_larger_network() -> None:
    torch.manual_seed(0)
    layers = [nn.Conv2d(3, 8, 3), HabitualSwitch(8, shared=True), nn.ReLU(), nn.Conv2d(8, 8, 3)]
    model = nn.Sequential(*layers, HabitualSwitch(8)).eval()
    model[4].mean_weight = model[1].mean_weight  # one parameter for three gates
    result = prune(model, X, on_unconverged="exact")
    with torch.no_grad():
        found, expected = result.model(X), model.double()(X.double())
    assert float((found - expected).abs().max() / expected.abs().max()) < 2e-5
