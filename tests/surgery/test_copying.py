"""Copies of networks, also of those that refuse deepcopy."""

from __future__ import annotations

import contextlib
import functools
import gc
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from networks import BN, IN, trained_layer
from torch import Tensor, nn

from ssn_prune import convert, prune
from ssn_prune.checkpoint.loading import LoadedCheckpoint, Source
from ssn_prune.errors import CaptureError
from ssn_prune.normalizer import NormalizerPair
from ssn_prune.surgery._shared_parameters import shared_copy
from ssn_prune.surgery.collector import collector_paused
from ssn_prune.surgery.copying import copy_model
from ssn_prune.surgery.float64 import float64_copy

X = torch.randn(2, 3, 8, 8, generator=torch.Generator().manual_seed(0))


class Stubborn(nn.Module):
    """Holds what cannot be copied, aliases, containers and a method of its own."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.conv, self.norm = (
            nn.Conv2d(3, 3, 3, padding=1),
            trained_layer(3, NormalizerPair(IN, BN)),
        )
        self.again = self.conv
        self.tied = nn.Conv2d(3, 3, 3, padding=1)
        self.tied.weight = self.conv.weight
        self.register_buffer("offset", torch.ones(3, 1, 1))
        self.lock = threading.Lock()
        self.table = {"stages": [self.conv, self.norm], "offset": self.offset}
        self.parent = (self,)
        self.run: Callable[[Tensor], Tensor] = self.twice
        self.scaled = functools.partial(torch.mul, self.offset)
        self.seen: list[int] = []

    def twice(self, x: Tensor) -> Tensor:
        for stage in self.table["stages"]:
            x = stage(x)
        return self.again(x) + self.tied(x)

    def forward(self, x: Tensor) -> Tensor:
        self.seen.append(1)
        return self.scaled(self.run(x))


class Refusing(Stubborn):
    def __deepcopy__(self, memo: dict[int, Any]) -> Any:
        raise NotImplementedError("no copies")


class GivingItselfBack(Stubborn):
    def __deepcopy__(self, memo: dict[int, Any]) -> Any:
        return self


KINDS = [Stubborn, Refusing, GivingItselfBack]


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("make", [copy_model, shared_copy, float64_copy])
def test_a_network_that_refuses_deepcopy_is_copied(
    make: Callable[[nn.Module], Any], kind: type[Stubborn]
) -> None:
    model = kind().eval()
    with torch.no_grad():
        expected = model(X)
        model.seen.clear()
        copied = make(model)
        found = copied(X.to(copied.conv.weight.dtype))
    torch.testing.assert_close(found.float(), expected, rtol=1e-4, atol=1e-5)
    assert type(copied) is kind
    assert not {id(m) for m in copied.modules()} & {id(m) for m in model.modules()}
    assert copied.again is copied.conv is copied.table["stages"][0]
    assert copied.tied.weight is copied.conv.weight
    assert copied.conv.weight is not model.conv.weight
    shares = copied.conv.weight.data_ptr() == model.conv.weight.data_ptr()
    assert shares == (make is shared_copy)
    assert copied.offset is not model.offset
    assert copied.parent[0] is copied
    assert copied.run.__self__ is copied
    assert copied.lock is model.lock
    assert (model.seen, copied.seen) == ([], [1])


@pytest.mark.parametrize("kind", KINDS)
def test_a_copy_may_keep_the_very_same_tensors(kind: type[Stubborn]) -> None:
    model = kind()
    copied = copy_model(model, share_tensors=True)
    assert copied.conv is not model.conv
    assert copied.conv.weight is model.conv.weight
    assert copied.offset is model.offset


class Plain(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.conv, self.norm = nn.Conv2d(3, 3, 3), trained_layer(3, NormalizerPair(IN, BN))
        self.seen: list[int] = []

    def forward(self, x: Tensor) -> Tensor:
        if not torch.compiler.is_compiling():
            self.seen.append(1)
        return self.norm(self.conv(x))


class RefusingPlain(Plain):
    def __deepcopy__(self, memo: dict[int, Any]) -> Any:
        raise NotImplementedError("no copies")


class SelfishPlain(Plain):
    def __deepcopy__(self, memo: dict[int, Any]) -> Any:
        return self


@pytest.mark.parametrize("kind", [Plain, RefusingPlain, SelfishPlain])
def test_a_network_that_refuses_deepcopy_is_converted(kind: type[Plain], tmp_path: Path) -> None:
    model = kind().eval()
    before = {key: value.clone() for key, value in model.state_dict().items()}
    source = Source("c.pth", "0", "zip", None, (), "", 0, "tiny", {}, {})
    report = convert(LoadedCheckpoint(model, (3, 8, 8), source), tmp_path / "m.onnx")
    assert report.verification.passed
    assert model.seen == []
    assert prune(model, X).model is not model
    for key, value in model.state_dict().items():
        assert torch.equal(value, before[key])


def test_what_cannot_be_copied_at_all_is_a_typed_error() -> None:
    class OddError(nn.Module, Exception):
        def __deepcopy__(self, memo: dict[int, Any]) -> Any:
            raise ValueError("no copies")

    with pytest.raises(CaptureError, match="OddError cannot be copied") as caught:
        copy_model(OddError())
    assert "not safe" in caught.value.found


def test_the_collector_is_as_before_afterwards() -> None:
    inside: list[bool] = []
    for running in (True, False):
        (gc.enable if running else gc.disable)()
        try:
            with contextlib.suppress(KeyError), collector_paused():
                inside.append(gc.isenabled())
                raise KeyError
            assert gc.isenabled() == running
        finally:
            gc.enable()
    assert inside == [False, False]
