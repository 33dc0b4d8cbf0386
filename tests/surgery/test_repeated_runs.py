"""Networks that are no function of their input cannot be references."""

from __future__ import annotations

import random
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from foreign_layers import HabitualSwitch
from networks import BN, IN, Lambda, trained_layer
from torch import Tensor, nn
from torch.nn import functional as F

from ssn_prune import convert, prune
from ssn_prune.checkpoint.loading import LoadedCheckpoint, Source
from ssn_prune.errors import UnsupportedLayerError
from ssn_prune.normalizer import NormalizerPair
from ssn_prune.surgery.repeated_runs import other_values, run_repeatedly, same_values

X = torch.randn(2, 3, 8, 8, generator=torch.Generator().manual_seed(0))


def network(forward: Callable[[nn.Module, Tensor], Tensor], foreign: bool = False) -> nn.Module:
    torch.manual_seed(0)
    layer = HabitualSwitch(4) if foreign else trained_layer(4, NormalizerPair(IN, BN))
    result = Lambda(forward, c=nn.Conv2d(3, 4, 3), n=layer)
    result.register_buffer("mem", torch.zeros(4))
    result.kept, result.log = torch.zeros(4), []
    return result.eval()


def y(m: nn.Module, x: Tensor) -> Tensor:
    return m.n(m.c(x)).mean((2, 3))


def in_a_buffer(m: nn.Module, x: Tensor) -> Tensor:
    found = y(m, x) + m.mem
    m.mem = found.mean(0)
    return found


def in_a_buffer_in_place(m: nn.Module, x: Tensor) -> Tensor:
    found = y(m, x) + m.mem
    m.mem.mul_(0.9).add_(0.1 * found.mean(0))
    return found


def in_an_attribute(m: nn.Module, x: Tensor) -> Tensor:
    found = y(m, x) + m.kept
    m.kept = found.mean(0)
    return found


def in_a_list(m: nn.Module, x: Tensor) -> Tensor:
    m.log.append(x.mean())
    return y(m, x) + len(m.log)


def halving_a_kernel(m: nn.Module, x: Tensor) -> Tensor:
    with torch.no_grad():
        m.c.weight.mul_(0.5)
    return y(m, x)


def rolling_a_kernel(m: nn.Module, x: Tensor) -> Tensor:
    m.c.weight.data.copy_(m.c.weight.data.roll(1, 1))
    return y(m, x)


def replacing_a_kernel(m: nn.Module, x: Tensor) -> Tensor:
    m.c.weight.data = m.c.weight.data * 0.5
    return y(m, x)


def dropout(m: nn.Module, x: Tensor) -> Tensor:
    return F.dropout(y(m, x), training=True)


def noise(m: nn.Module, x: Tensor) -> Tensor:
    return y(m, x) + torch.randn(4)


def noise_of_numpy(m: nn.Module, x: Tensor) -> Tensor:
    return y(m, x) + float(np.random.rand())


def noise_of_python(m: nn.Module, x: Tensor) -> Tensor:
    return y(m, x) + random.random()


CAUSES = {
    in_a_buffer: "it changes mem when it runs",
    in_a_buffer_in_place: "it changes mem when it runs",
    in_an_attribute: "outside of its buffers",
    in_a_list: "outside of its buffers",
    halving_a_kernel: "it changes c.weight when it runs",
    rolling_a_kernel: "it changes c.weight when it runs",
    replacing_a_kernel: "it changes c.weight when it runs",
    dropout: "draws random numbers",
    noise: "draws random numbers",
    noise_of_numpy: "draws random numbers",
    noise_of_python: "draws random numbers",
}


@pytest.mark.parametrize("foreign", [False, True])
@pytest.mark.parametrize("forward", CAUSES, ids=lambda forward: forward.__name__)
def test_a_network_with_memory_or_chance_is_refused(
    forward: Callable[[nn.Module, Tensor], Tensor], foreign: bool, tmp_path: Path
) -> None:
    model = network(forward, foreign)
    before = {key: value.clone() for key, value in model.state_dict().items()}
    torch_state = torch.get_rng_state()
    with pytest.raises(UnsupportedLayerError, match="is no function of its input") as caught:
        prune(model, X, on_unconverged="exact")
    assert CAUSES[forward] in caught.value.problem
    assert caught.value.hint
    assert model.log == []
    assert not bool(model.kept.any())
    assert torch.equal(torch.get_rng_state(), torch_state)
    for key, value in model.state_dict().items():
        assert torch.equal(value, before[key]), key
    if not foreign:
        source = Source("c.pth", "0", "zip", None, (), "", 0, "tiny", {}, {})
        with pytest.raises(UnsupportedLayerError, match="is no function of its input"):
            convert(LoadedCheckpoint(model, (3, 8, 8), source), tmp_path / "m.onnx")
        assert not list(tmp_path.iterdir())


def counting(m: nn.Module, x: Tensor) -> Tensor:
    m.mem += 1
    return y(m, x)


def clamping(m: nn.Module, x: Tensor) -> Tensor:
    m.c.weight.data.clamp_(min=-0.1)
    return y(m, x)


def caching(m: nn.Module, x: Tensor) -> Tensor:
    m.mem = torch.arange(4.0)
    return y(m, x) + m.mem


@pytest.mark.parametrize(
    ("forward", "changed"), [(counting, "mem"), (clamping, "c.weight"), (caching, "mem"), (y, None)]
)
@pytest.mark.parametrize("foreign", [False, True])
def test_a_change_without_effect_is_noted(
    forward: Callable[[nn.Module, Tensor], Tensor], changed: str | None, foreign: bool
) -> None:
    result = prune(network(forward, foreign), X, on_unconverged="exact")
    expected = () if changed is None else (changed,)
    assert result.report.adoption.changed_buffers == expected


def test_a_network_that_gives_nan_is_a_function() -> None:
    def forward(m: nn.Module, x: Tensor) -> Tensor:
        found = y(m, x).clone()
        found[0, 0] = float("nan")
        return found

    prune(network(forward), X)


def test_a_network_may_work_on_its_inputs_in_place() -> None:
    x = X.clone()
    prune(network(lambda m, x: y(m, x.mul_(2))), x)
    assert torch.equal(x, X)


def test_a_network_may_refuse_other_values() -> None:
    def forward(m: nn.Module, x: Tensor) -> Tensor:
        if not torch.equal(x, X):
            raise ValueError("not these")
        return y(m, x)

    assert run_repeatedly(network(forward), (X,)).changed == ()


def test_other_values_have_the_same_shapes_and_ranges() -> None:
    inputs = ([X, torch.arange(5)], {"a": torch.ones(3), "b": "text", "c": torch.rand(4) > 0.5})
    (images, words), rest = other_values(inputs)
    assert images.shape == X.shape
    assert not torch.equal(images, X)
    assert torch.equal(images.flatten().sort().values, X.flatten().sort().values)
    assert sorted(words.tolist()) == [0, 1, 2, 3, 4]
    assert not torch.equal(rest["a"], torch.ones(3))
    assert rest["b"] == "text"
    assert rest["c"].dtype is torch.bool


def test_equal_means_bit_by_bit() -> None:
    a = torch.tensor([1.0, float("nan")])
    assert same_values([a], [a.clone()])
    assert not same_values([a], [a + torch.tensor([1e-7, 0])])
    assert not same_values([a], [a.double()])
    assert not same_values([a], [a[:1]])
    assert not same_values([a], [])
    assert not same_values([a], [torch.tensor([1.0, 2.0])])
