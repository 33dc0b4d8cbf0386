"""The algebra check runs both networks in turns and keeps hardly any activations."""

from __future__ import annotations

import threading
import weakref

import pytest
import torch
from networks import BN, IN, LN, Lambda, trained_layer
from torch import Tensor, nn
from torch.utils import _python_dispatch as dispatch

from ssn_prune import prune
from ssn_prune.normalizer import NormalizerPair
from ssn_prune.verification.algebra import check_algebra
from ssn_prune.verification.turns import InTurns

X = torch.randn(2, 3, 8, 8, generator=torch.Generator().manual_seed(0))


def values(*pairs: tuple[str, float]):
    def run(tap):
        for name, value in pairs:
            tap(name, torch.tensor(value))
        return "result"

    return run


def test_values_come_in_the_order_of_each_layer() -> None:
    with InTurns(values(("a", 1.0), ("b", 2.0), ("a", 3.0), ("c", 4.0))) as expected:
        assert [float(expected.take(name)) for name in ("b", "a", "a")] == [2, 1, 3]
        assert expected.take("absent") is None
        assert expected.take("a") is None
        assert expected.finish() == "result"
        assert expected.layers == {"a": 0, "b": 0, "c": 1}
        assert float(expected.take("c")) == 4
        assert expected.finish() == "result"


def test_the_network_itself_may_be_a_layer_that_runs_twice() -> None:
    with InTurns(values(("", 1.0), ("", 2.0), ("", 3.0))) as expected:
        assert float(expected.take("")) == 1
        assert expected.finish() == "result"
        assert expected.layers == {"": 2}


def test_nothing_runs_until_it_is_asked_for() -> None:
    threads = threading.active_count()
    seen = []

    def run(tap):
        for step in range(4):
            seen.append(step)
            tap("layer", torch.tensor(step))

    with InTurns(run) as expected:
        for step in range(3):
            assert seen == list(range(step))
            assert int(expected.take("layer")) == step
    assert seen == [0, 1, 2]  # and nobody asked for the last one
    assert threading.active_count() == threads


def test_what_lies_around_is_not_overwritten() -> None:
    def run(tap):
        value = torch.zeros(1)
        tap("a", value)
        value.add_(1)
        tap("b", value)

    with InTurns(run) as expected:
        assert float(expected.take("b")) == 1
        assert float(expected.take("a")) == 0


def test_errors_of_either_side_end_both() -> None:
    threads = threading.active_count()

    def run(tap):
        tap("a", torch.zeros(1))
        raise ValueError("the run failed")

    with InTurns(run) as expected:
        assert expected.take("a") is not None
        with pytest.raises(ValueError, match="the run failed"):
            expected.take("a")
        with pytest.raises(ValueError, match="the run failed"):
            expected.finish()
    expected = InTurns(values(("a", 1.0), ("a", 2.0)))
    with pytest.raises(KeyError), expected:
        raise KeyError(expected.take("a"))
    assert threading.active_count() == threads


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


def test_the_check_holds_one_layers_activations_at_a_time(monkeypatch: pytest.MonkeyPatch) -> None:
    shown: list[weakref.ref[Tensor]] = []
    alive = []
    give = InTurns._give

    def counting(self, name, value):
        shown.append(weakref.ref(value))
        give(self, name, value)
        del value
        alive.append(sum(ref() is not None for ref in shown))

    monkeypatch.setattr(InTurns, "_give", counting)
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


def test_inference_mode_holds_in_the_other_thread() -> None:
    network = Lambda(counted, c=nn.Conv2d(3, 4, 3), n=trained_layer(4, PAIRS[1])).eval()
    network.c.register_buffer("calls", torch.zeros(()))
    result = prune(network, X)
    with torch.inference_mode():
        assert check_algebra(result.original, result.plan, (X,)).passed
