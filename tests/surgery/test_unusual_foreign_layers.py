"""Foreign layers whose settings, tensors or surroundings are unusual: right or a typed refusal."""

from __future__ import annotations

import warnings
from typing import Any

import pytest
import torch
from foreign_layers import HabitualSwitch
from torch import Tensor, nn

from ssn_prune import SSN2d, prune
from ssn_prune.errors import UnsupportedLayerError
from ssn_prune.surgery.from_reference import adopt_layers, foreign_layers

X = torch.randn(2, 3, 8, 8, generator=torch.Generator().manual_seed(3))
OTHER = torch.randn(3, 3, 8, 8, generator=torch.Generator().manual_seed(4)) * 2


def network(layer: nn.Module) -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(nn.Conv2d(3, 8, 3, padding=1), layer, nn.Conv2d(8, 4, 1)).eval()


def require_right(model: nn.Module) -> None:
    """The pruned network agrees with the given one on inputs that it has not seen."""
    pruned = prune(model, X, on_unconverged="exact").model
    with torch.no_grad():
        found, expected = pruned(OTHER), model.double()(OTHER.double())
    assert float((found - expected).abs().max() / expected.abs().max()) < 2e-5


def changed(**values: Any) -> nn.Module:
    layer = HabitualSwitch(8)
    for name, value in values.items():
        setattr(layer, name, value)
    return layer


class EpsilonAsProperty(HabitualSwitch):
    """Its eps is known only to the code that runs."""

    @property
    def eps(self) -> float:
        if not self.__dict__.get("running"):
            raise RuntimeError("known while running only")
        return self.__dict__["value"]

    @eps.setter
    def eps(self, value: float) -> None:
        self.__dict__["value"] = value

    def forward(self, x: Tensor) -> Tensor:
        self.__dict__["running"] = True
        try:
            return super().forward(x)
        finally:
            self.__dict__["running"] = False


UNUSUAL = {
    "no momentum": lambda: changed(momentum=None),
    "momentum as text": lambda: changed(momentum="0.9"),
    "eps as a tensor": lambda: changed(eps=torch.tensor(1e-3)),
    "eps as a property that raises": lambda: EpsilonAsProperty(8),
}


@pytest.mark.parametrize("name", UNUSUAL)
def test_unusual_settings_are_adopted(name: str) -> None:
    require_right(network(UNUSUAL[name]()))


IMPOSSIBLE = {
    "a momentum for each of two": lambda: changed(momentum=torch.tensor([0.9, 0.8])),
    "one running mean for all channels": lambda: changed(running_mean=torch.zeros(1, 1, 1)),
    "one bias for all channels": lambda: changed(bias=nn.Parameter(torch.zeros(1, 1, 1, 1))),
    "a radius for each gate": lambda: changed(radius=nn.Parameter(torch.ones(2))),
}


@pytest.mark.parametrize("name", IMPOSSIBLE)
def test_what_cannot_be_taken_over_is_a_typed_error(name: str) -> None:
    with pytest.raises(UnsupportedLayerError) as caught:
        prune(network(IMPOSSIBLE[name]()), X, on_unconverged="exact")
    assert "1 (HabitualSwitch)" in str(caught.value)
    assert caught.value.found
    assert caught.value.hint


class Forwarding(nn.Module):
    """Passes on every attribute of what it wraps, as checkpoint and compile wrappers do."""

    def __init__(self, module: nn.Module) -> None:
        super().__init__()
        self.module = module

    def __getattr__(self, name: str) -> Any:
        try:
            return super().__getattr__(name)
        except AttributeError:
            return getattr(self.module, name)

    def forward(self, x: Tensor) -> Tensor:
        return self.module(x)


class RefusesToBeAsked(nn.Identity):
    def __getattr__(self, name: str) -> Any:
        if name.endswith("_weight"):
            raise RuntimeError("no such thing")
        return super().__getattr__(name)


@pytest.mark.parametrize("kind", [HabitualSwitch, SSN2d])
def test_a_wrapper_that_passes_on_attributes_is_not_the_layer(kind: type[nn.Module]) -> None:
    model = network(Forwarding(kind(8)))
    assert foreign_layers(model) == (["1.module"] if kind is HabitualSwitch else [])
    require_right(model)


def test_other_modules_may_refuse_to_be_asked() -> None:
    require_right(network(nn.Sequential(RefusesToBeAsked(), HabitualSwitch(8))))


@pytest.mark.parametrize("whole", [True, False])
def test_traced_layers_are_refused_with_advice_that_works(whole: bool) -> None:
    plain = network(HabitualSwitch(8))
    traced = network(HabitualSwitch(8))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # torch.jit is deprecated, but networks of it are around
        if whole:
            traced = torch.jit.trace(traced, X)
        else:
            traced[1] = torch.jit.trace(traced[1], torch.randn(2, 8, 8, 8))
    with pytest.raises(UnsupportedLayerError, match="TorchScript") as caught:
        adopt_layers(traced)
    assert "before torch.jit.trace" in str(caught.value.hint)
    require_right(plain)


class LargeBatches(HabitualSwitch):
    """Treats large batches in another way."""

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = super().forward(x)
        return y if len(x) < 32 else y * 2


def test_a_branch_on_the_batch_size_is_found() -> None:
    with pytest.raises(UnsupportedLayerError, match="computes something else"):
        prune(network(LargeBatches(8)), X, on_unconverged="exact")
