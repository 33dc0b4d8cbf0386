"""Layer outputs of one network are spilled, those of the other compared as they appear."""

from __future__ import annotations

import math
import tempfile
import weakref
from pathlib import Path

import pytest
import torch
from networks import BN, IN, LN, Lambda, trained_layer
from torch import Tensor, nn
from torch.utils import _python_dispatch as dispatch

from ssn_prune import prune
from ssn_prune.normalizer import NormalizerPair
from ssn_prune.surgery.nested import relative_error
from ssn_prune.surgery.output_hooks import (
    ComparedOutputs,
    SpilledOutputs,
    run_with_output_hooks,
)
from ssn_prune.verification.algebra import check_algebra

X = torch.randn(2, 3, 8, 8, generator=torch.Generator().manual_seed(0))


def spilled(kept: SpilledOutputs, *values: tuple[str, float]) -> SpilledOutputs:
    for name, value in values:
        kept(name, [torch.tensor(value)])
    return kept


def test_values_are_read_by_layer_and_call() -> None:
    with SpilledOutputs() as kept:
        spilled(kept, ("a", 1.0), ("b", 2.0), ("a", 3.0), ("c", 4.0))
        assert [float(kept.read(*key)[0]) for key in (("b", 0), ("a", 1), ("a", 0))] == [2, 3, 1]
        assert kept.read("absent", 0) is None
        assert kept.read("a", 2) is None
        assert kept.layers == {"a": 2, "b": 1, "c": 1}
        kept.clear()
        assert kept.layers == {}
        assert kept.read("a", 0) is None


@pytest.mark.parametrize(
    "value",
    [
        torch.randn(3, 4, dtype=torch.float64),
        torch.randn(4, 6).t(),
        torch.tensor(2.5),
        torch.empty(0, 3),
        torch.randn(3).to(torch.bfloat16),
        torch.randn(2, dtype=torch.complex64),
        torch.tensor([True, False]),
        torch.tensor([float("nan"), float("-inf")]),
    ],
    ids=lambda value: f"{tuple(value.shape)} {value.dtype}",
)
def test_every_kind_of_tensor_comes_back_as_it_was(value: Tensor) -> None:
    with SpilledOutputs() as kept:
        kept("x", [torch.zeros(5)])
        kept("x", [value, value.clone()])
        for found in kept.read("x", 1):
            assert found.dtype is value.dtype
            assert found.shape == value.shape
            assert torch.equal(found.nan_to_num(), value.nan_to_num())


def test_nothing_is_left_on_the_disk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    with SpilledOutputs() as kept:
        kept("x", [torch.zeros(1000)])
        assert list(tmp_path.iterdir()) == []


def test_what_lies_around_is_not_overwritten() -> None:
    with SpilledOutputs() as kept:
        value = torch.zeros(1)
        kept("a", [value])
        value.add_(1)
        kept("b", [value])
        assert float(kept.read("b", 0)[0]) == 1
        assert float(kept.read("a", 0)[0]) == 0


def test_calls_that_only_one_network_makes_are_infinitely_wrong() -> None:
    with SpilledOutputs() as kept:
        compared = ComparedOutputs(
            spilled(kept, ("a", 1.0), ("b", 2.0), ("a", 3.0), ("c", 4.0)), relative_error
        )
        for name, value in (("d", 1.0), ("a", 1.0), ("a", 3.3), ("b", 2.0), ("b", 2.0)):
            compared(name, [torch.tensor(value)])
        found = dict(compared.in_order())
    assert list(found) == ["a", "b", "c", "d"]
    assert found["a"] == [0, pytest.approx(0.1)]
    assert found["b"] == [0, math.inf]
    assert found["c"] == [math.inf]
    assert found["d"] == [math.inf]


def test_the_network_itself_may_be_a_layer() -> None:
    with SpilledOutputs() as kept:
        run_with_output_hooks(nn.ReLU(), (X,), ["", ""], kept)
        assert kept.layers == {"": 2}


def test_hooks_are_removed_also_after_an_error() -> None:
    network = nn.Sequential(nn.Conv2d(4, 3, 3))
    with pytest.raises(RuntimeError):
        run_with_output_hooks(network, (X,), ["0"], lambda *_: None)
    assert not network[0]._forward_hooks


def chain(m: nn.Module, x: Tensor) -> Tensor:
    for stage in m.stages:
        x = torch.relu_(stage(x))
    return x


PAIRS = [NormalizerPair(mean, var) for mean in (IN, LN, BN) for var in (IN, LN, BN)]


def deep() -> nn.Module:
    layers = [
        nn.Sequential(nn.Conv2d(3, 3, 3, padding=1), trained_layer(3, pair, seed))
        for seed, pair in enumerate(PAIRS * 2)
    ]
    return Lambda(chain, stages=nn.ModuleList(layers)).eval()


@pytest.mark.parametrize("hook", [SpilledOutputs, ComparedOutputs])
def test_the_check_holds_one_layers_activations_at_a_time(
    hook: type, monkeypatch: pytest.MonkeyPatch
) -> None:
    shown: list[weakref.ref[Tensor]] = []
    alive = []
    call = hook.__call__

    def counting(self, name, values):
        shown.append(weakref.ref(values[0]))
        call(self, name, values)
        del values
        alive.append(sum(ref() is not None for ref in shown))

    monkeypatch.setattr(hook, "__call__", counting)
    result = prune(deep(), X)
    assert check_algebra(result.original, result.plan, (X,)).passed
    assert len(alive) == 2 * len(PAIRS)
    assert max(alive) <= 1  # the caller of this function holds it


def test_torch_is_as_it_was_afterwards() -> None:
    flags = [name for name in vars(dispatch) if name.startswith("_is_in")]
    assert flags
    assert not any(getattr(dispatch, name) for name in flags)
    result = prune(deep(), X)
    assert check_algebra(result.original, result.plan, (X,)).passed
    assert not any(getattr(dispatch, name) for name in flags)


def counted(m: nn.Module, x: Tensor) -> Tensor:
    m.c.calls.add_(1)
    return m.n(m.c(x))


def test_inference_mode_does_not_matter() -> None:
    network = Lambda(counted, c=nn.Conv2d(3, 4, 3), n=trained_layer(4, PAIRS[1])).eval()
    network.c.register_buffer("calls", torch.zeros(()))
    result = prune(network, X)
    assert result.report.adoption.changed_buffers == ("c.calls",)
    with torch.inference_mode():
        assert check_algebra(result.original, result.plan, (X,)).passed
