"""Norm layers that the forward reaches in another way than by their names are reported."""

from __future__ import annotations

import functools
import warnings
from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn

from ssn_prune import convert_to_ssn
from ssn_prune.surgery.unregistered import unregistered_references


class Base(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.conv, self.bn, self.other = nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.BatchNorm2d(4)

    def forward(self, x: Tensor) -> Tensor:
        return self.other(self.bn(self.conv(x)))


class Holder:
    def __init__(self, layer: nn.Module) -> None:
        self.layer = layer


def in_a_list(model: Base) -> None:
    model.order = [model.conv, model.bn]


def in_a_nested_dict(model: Base) -> None:
    model.table = {"norms": ({"first": model.bn},)}


def in_a_closure(model: Base) -> None:
    bn = model.bn
    model.step = lambda x: bn(x)


def in_a_default(model: Base) -> None:
    def step(x: Tensor, layer: nn.Module = model.bn) -> Tensor:
        return layer(x)

    model.step = step


def in_a_bound_method(model: Base) -> None:
    model.step = model.bn.forward


def in_a_partial(model: Base) -> None:
    model.step = functools.partial(lambda layer, x: layer(x), model.bn)


def in_an_object(model: Base) -> None:
    model.holder = Holder(model.bn)


def in_an_unregistered_module(model: Base) -> None:
    model.hidden = [nn.Sequential(model.bn, nn.ReLU())]


def in_a_hook(model: Base) -> None:
    bn = model.bn
    model.conv.register_forward_hook(lambda _module, _inputs, y: bn(y))


def in_a_cycle(model: Base) -> None:
    ring: list[object] = [model.bn]
    ring.append(ring)
    model.ring = ring


BEYOND_COPIES = [in_a_closure, in_a_default, in_a_hook]
IN_COPIES = [
    in_a_list,
    in_a_nested_dict,
    in_a_bound_method,
    in_a_partial,
    in_an_object,
    in_an_unregistered_module,
    in_a_cycle,
]


@pytest.mark.parametrize(
    ("way", "inplace"),
    [
        *((way, inplace) for way in BEYOND_COPIES for inplace in (False, True)),
        *((way, True) for way in IN_COPIES),
    ],
)
def test_a_layer_that_is_reached_another_way_is_reported(
    way: Callable[[Base], None], inplace: bool
) -> None:
    model = Base()
    way(model)
    with pytest.warns(UserWarning, match="may still call 1 of the norm layers"):
        first, second = convert_to_ssn(model, inplace=inplace).layers
    assert (first.names, first.new) == (("bn",), "SSN2d")
    assert "the old layer is still in " in first.reason
    assert second.reason == ""


@pytest.mark.parametrize("way", IN_COPIES)
def test_a_copy_holds_the_new_layer_there(way: Callable[[Base], None]) -> None:
    model = Base()
    way(model)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        converted = convert_to_ssn(model)
    assert [record.reason for record in converted.layers] == ["", ""]
    found = unregistered_references(converted.model, [converted.model.bn, model.bn])
    assert list(found) == [id(converted.model.bn)]


def test_the_forward_of_a_local_class_is_looked_at() -> None:
    norm = nn.BatchNorm2d(4)

    class Local(Base):
        def forward(self, x: Tensor) -> Tensor:
            return norm(self.conv(x))

    model = Local()
    model.bn = norm
    with pytest.warns(UserWarning, match="a variable of forward"):
        converted = convert_to_ssn(model)
    assert "norm, a variable of forward" in converted.layers[0].reason


def test_what_is_registered_is_not_reported() -> None:
    model = Base()
    model.again = nn.ModuleList([model.bn])
    model.table = {"conv": model.conv, "numbers": [1, torch.zeros(2)], "class": nn.BatchNorm2d}
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        records = convert_to_ssn(model).layers
    assert [record.reason for record in records] == ["", ""]


def test_a_network_full_of_objects_takes_no_time() -> None:
    model = Base()
    model.many = [[i] * 10 for i in range(100_000)]
    assert unregistered_references(model, [nn.ReLU()]) == {}
