"""In which precision layers are compared, and within what."""

from __future__ import annotations

import pytest
import torch
from foreign_layers import HabitualSwitch
from foreign_networks import GUARDS, X, network, raising, refused
from torch import Tensor

from ssn_prune import prune
from ssn_prune.surgery.rounding_bounds import float32_bound, float64_bound


def test_a_float32_step_inside_a_layer_is_said() -> None:
    check = prune(network(), X, on_unconverged="exact").report.adoption
    assert check.narrow_operator is None
    error = refused(network(narrow=True, guard=raising(ValueError, GUARDS["width 16"])))
    assert "float32" in error.expected

    class Rounding(HabitualSwitch):
        """Computes in float32 whatever it is given."""

        def forward(self, x: Tensor) -> Tensor:
            if x.dtype is torch.float64:
                raise TypeError("float32 only")
            return super().forward(x)

    check = prune(network(kind=Rounding), X, on_unconverged="exact").report.adoption
    assert check.precision == "float32"
    assert "float32 only" in check.narrow_operator
    assert check.output_error <= check.tolerance
    assert 1e-5 <= check.tolerance < 2e-5
    refused(network(kind=Rounding, relu=True))
    refused(network(kind=Rounding, order=(1, 0, 2)))


def test_an_own_error_that_is_not_finite_gives_a_finite_bound() -> None:
    assert float64_bound(0.0) == 1e-11
    assert float64_bound(0.08) == pytest.approx(1e-11 + 4 * 0.08 * 2**-29, rel=1e-12)
    assert float64_bound(7.0) == pytest.approx(1e-11 + 7 * 2**-27, rel=1e-12)
    for error in (1.0, float("inf"), float("nan")):
        assert float64_bound(error) == pytest.approx(1e-11 + 2**-27, rel=1e-12)
    assert float32_bound(1e-6) == pytest.approx(1.4e-5)
    assert float32_bound(float("inf")) == 0

    class Overflowing(HabitualSwitch):
        """Right in float64 only: it takes numbers that float32 does not have."""

        def forward(self, x: Tensor) -> Tensor:
            return super().forward(x * 1e30 * 1e30 * 1e-30 * 1e-30)

    model = network(kind=Overflowing)
    check = prune(model, X, on_unconverged="exact").report.adoption
    assert check.own_float32_error == float("inf")
    assert check.tolerance == float64_bound(1.0)
    assert check.output_error < 1e-13
