"""Layers that are called with more than a tensor, or give more: right, or a typed refusal."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from foreign_layers import HabitualSwitch
from foreign_networks import X, checked, refused
from networks import Lambda
from torch import Tensor, nn

from ssn_prune import SSN2d, SwitchNorm2d, prune
from ssn_prune.errors import UnsupportedLayerError


class Masked(HabitualSwitch):
    """Takes a mask and ignores it."""

    def forward(self, x: Tensor, mask: Tensor | None = None) -> Tensor:
        return super().forward(x)


class Verbose(HabitualSwitch):
    """Gives its input's mean beside the output."""

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        return super().forward(x), x.mean()


def network(kind: type[nn.Module], call: Callable[[nn.Module, Tensor], Any]) -> nn.Module:
    torch.manual_seed(0)
    return Lambda(lambda m, x: call(m.n, m.c(x)), c=nn.Conv2d(3, 8, 3), n=kind(8)).eval()


CALLS: dict[str, Callable[[nn.Module, Tensor], Any]] = {
    "positional None": lambda n, x: n(x, None),
    "positional tensor": lambda n, x: n(x, x > 0),
    "named None": lambda n, x: n(x, mask=None),
    "named tensor": lambda n, x: n(x=x, mask=x > 0),
}


@pytest.mark.parametrize("name", CALLS)
def test_more_arguments_are_refused_by_name(name: str) -> None:
    error = refused(network(Masked, CALLS[name]))
    assert "runs with its own layers, but not with those of ssn_prune" in error.problem
    assert "called with one tensor" in str(error.expected)


def test_more_outputs_are_refused() -> None:
    refused(network(Verbose, lambda n, x: n(x)[0]))


def test_the_same_layer_called_plainly_is_right() -> None:
    assert checked(network(Masked, lambda n, x: n(x))).compared


def test_the_cure_is_a_call_with_one_tensor() -> None:
    """What the hint says, done."""
    checked(network(Masked, lambda n, x: n(x)))
    own = network(lambda channels: SwitchNorm2d(channels), lambda n, x: n(x))
    prune(own, X, on_unconverged="exact")


@pytest.mark.parametrize("name", CALLS)
def test_our_layer_with_another_signature_is_refused(name: str) -> None:
    class Wrapped(SSN2d):
        def forward(self, x: Tensor, mask: Tensor | None = None) -> Tensor:
            return super().forward(x)

    with pytest.raises(UnsupportedLayerError, match="its own forward") as caught:
        prune(network(Wrapped, CALLS[name]), X, on_unconverged="exact")
    assert "a module of its own" in str(caught.value.hint)
