"""Layers that compute something else are refused, and the refusal says what differs."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from foreign_layers import TokenNorm
from foreign_networks import GUARDS, X, checked, network, raising, refused
from torch import Tensor, nn
from torch.nn import functional as F
from unlike_layers import UnlikeSwitch

from ssn_prune import SwitchNorm2d, prune


def outside(variances: list[Tensor], ratios: Tensor, eps: float) -> Tensor:
    return sum(r * v for r, v in zip(ratios, variances, strict=True)).sqrt() + eps


def deviations(variances: list[Tensor], ratios: Tensor, eps: float) -> Tensor:
    return sum(r * (v + eps).sqrt() for r, v in zip(ratios, variances, strict=True))


def inside_each(variances: list[Tensor], ratios: Tensor, eps: float) -> Tensor:
    return sum(r * (v + eps) for r, v in zip(ratios, variances, strict=True)).sqrt()


def inside_running(variances: list[Tensor], ratios: Tensor, eps: float) -> Tensor:
    *others, running = (r * v for r, v in zip(ratios, variances, strict=True))
    return (sum(others) + running + 100 * ratios[-1] * eps).sqrt()


OTHERS: dict[str, dict[str, Any]] = {
    "the gates' order is (LN, IN, BN)": {"order": "LIB"},
    "the gates' order is (BN, IN, LN)": {"order": "BIL"},
    "the gates' order is (BN, LN, IN)": {"order": "BLI"},
    "the gates' order is (LN, IN)": {"order": "LI"},
    "eps is added to the standard deviation": {"root": outside},
    "eps is added to the standard deviation, 1e-9": {"root": outside, "eps": 1e-9},
    "standard deviations are mixed, not variances": {"root": deviations},
    "LN's variance is the mean of IN's": {"divisors": ("n-1", "mean")},
    "IN's variance divides by n - 1, LN's by C n": {"divisors": ("n-1", "n")},
    "IN's variance divides by n, LN's by C n - 1": {"divisors": ("n", "cn-1")},
    "IN's variance divides by n, LN's is built from": {"divisors": ("n", "planes")},
    "an activation inside the layer: ReLU": {"then": torch.relu},
    "an activation inside the layer: LeakyReLU": {"then": F.leaky_relu},
    "an activation inside the layer: GELU": {"then": F.gelu},
    "an activation inside the layer: SiLU": {"then": F.silu},
}


class Refusing(UnlikeSwitch):
    """Runs at one width only."""

    def forward(self, x: Tensor) -> Tensor:
        raising(ValueError, GUARDS["width 16"])(x)
        return super().forward(x)


@pytest.mark.parametrize("kind", [UnlikeSwitch, Refusing])
@pytest.mark.parametrize("name", OTHERS)
def test_what_computes_something_else_is_named(name: str, kind: type[nn.Module]) -> None:
    torch.manual_seed(0)
    layer = kind(8, **OTHERS[name])
    model = nn.Sequential(nn.Conv2d(3, 8, 3, padding=1), layer, nn.Conv2d(8, 4, 1)).eval()
    error = refused(model)
    assert f"1 ({kind.__name__})" in error.problem
    assert error.hint.startswith(name.removesuffix(", 1e-9")), error.hint


@pytest.mark.parametrize("kind", [UnlikeSwitch, Refusing])
def test_what_no_known_formula_explains_is_refused(kind: type[nn.Module]) -> None:
    torch.manual_seed(0)
    for options in ({"then": torch.erf}, {"root": inside_running}):
        model = nn.Sequential(nn.Conv2d(3, 8, 3, padding=1), kind(8, **options)).eval()
        assert refused(model).hint.startswith("look for another eps")


@pytest.mark.parametrize(
    "options",
    [
        {"root": inside_each},  # the ratios add up to 1
        {"divisors": ("n-1", "cn-1")},
        {"divisors": ("n", "n")},
        {"divisors": ("n-1", "cn-1"), "order": "IL"},
        {"divisors": ("n-1", "cn-1"), "eps": 1e-2},
    ],
)
def test_formulas_that_ours_have_are_right(options: dict[str, Any]) -> None:
    torch.manual_seed(0)
    layers = nn.Conv2d(3, 8, 3, padding=1), UnlikeSwitch(8, **options), nn.Conv2d(8, 4, 1)
    assert checked(nn.Sequential(*layers).eval()).precision == "float64"


def test_sorted_gates_are_the_cure_for_another_order() -> None:
    """What the hint says, done."""
    torch.manual_seed(0)
    layer = UnlikeSwitch(8, order="BIL", divisors=("n", "n"))
    given = nn.Sequential(nn.Conv2d(3, 8, 3, padding=1), layer).eval()
    state = given.state_dict()
    for gate in ("mean", "var"):
        key = f"1.{gate}_weight"
        state[key] = torch.stack([state[key]["BIL".index(letter)] for letter in "ILB"])
    own = nn.Sequential(nn.Conv2d(3, 8, 3, padding=1), SwitchNorm2d(8)).eval()
    own.load_state_dict(state)
    with torch.no_grad():
        found, expected = own.double()(X.double()), given.double()(X.double())
    assert float((found - expected).abs().max()) < 1e-13


@pytest.mark.parametrize("tokens", [10, 16])
def test_statistics_over_other_axes_are_refused(tokens: int) -> None:
    torch.manual_seed(0)
    model = nn.Sequential(nn.Conv1d(6, tokens, 1), TokenNorm(tokens)).eval()
    error = refused(model, torch.randn(2, 6, tokens))
    assert "1 (TokenNorm)" in error.problem


@pytest.mark.parametrize("factor", [0.9, 1.1])
def test_eps_wrong_by_a_tenth_is_found_at_mean_100(factor: float) -> None:
    """Where the given formula loses eight digits, and eps is a tenth of the variance."""
    for eps, accepted in ((1e-3, True), (1e-3 * factor, False)):
        guard = raising(RuntimeError, GUARDS["width 16"])
        model = network(guard=guard, centred=False, eps=1e-3, factor=eps / 1e-3)
        with torch.no_grad():
            model[0].weight.mul_(0.1)
            model[0].bias.fill_(100)
            model[1].running_mean.fill_(100)
            model[1].running_var.fill_(0.01)
        if accepted:
            check = prune(model, X, on_unconverged="exact").report.adoption
            assert check.own_float32_error > 1e-4
            assert 1e-11 < check.worst_layer_tolerance < 1e-9
        else:
            refused(model)
