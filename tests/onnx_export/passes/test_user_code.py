"""Subgraphs of the user's own that look like those of our layers are left as they are."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from graph_passes import Exported, exported, layer_passes, outputs
from torch import Tensor, nn

from ssn_prune.nn.inference import InstanceCentre2d, LayerCentre1d, MomentNorm, MomentNorm2d

CHANNELS = 6
LARGE = (CHANNELS, 106, 107)


def lookalike(forward: Callable[[nn.Module, Tensor], Tensor], name: str) -> nn.Module:
    """A module of the user's own, under the name of one of ours."""

    def setup(self: nn.Module) -> None:
        nn.Module.__init__(self)
        generator = torch.Generator().manual_seed(0)
        for parameter in ("weight", "bias", "coefficient"):
            value = torch.randn(CHANNELS, generator=generator)
            self.register_parameter(parameter, nn.Parameter(value))

    made: nn.Module = type(name, (nn.Module,), {"__init__": setup, "forward": forward})()
    return made.eval()


def moment_norm(m: nn.Module, x: Tensor) -> Tensor:
    mean_in = x.mean((2, 3), keepdim=True)
    centred = x - mean_in
    var = (centred * centred).mean((2, 3), keepdim=True)
    scale = m.weight.view(-1, 1, 1) / (var + 1e-5).sqrt()
    return (x - mean_in.mean(1, keepdim=True)) * scale + m.bias.view(-1, 1, 1)


def group_norm(m: nn.Module, x: Tensor) -> Tensor:
    centred = x - x.mean((2, 3), keepdim=True).mean(1, keepdim=True)
    var = (centred * centred).mean((2, 3), keepdim=True).mean(1, keepdim=True)
    return centred * (m.weight.view(-1, 1, 1) / (var + 1e-5).sqrt()) + m.bias.view(-1, 1, 1)


def instance_centre(m: nn.Module, x: Tensor) -> Tensor:
    return x - x.mean((2, 3), keepdim=True) + m.bias.view(-1, 1, 1)


def layer_centre(m: nn.Module, x: Tensor) -> Tensor:
    mean_in = x.mean(2, keepdim=True)
    return x - (mean_in * m.coefficient.view(-1, 1)).sum(1, keepdim=True)


LOOKALIKES = {
    "MomentNorm2d": (moment_norm, LARGE),
    "GroupNorm": (group_norm, LARGE),
    "InstanceCentre2d": (instance_centre, LARGE),
    "LayerCentre1d": (layer_centre, (CHANNELS, 9)),
}


def pair_of(first: nn.Module, second: nn.Module) -> nn.Module:
    return nn.Sequential(first, nn.Tanh(), second).eval()


def assert_untouched(graph: Exported) -> None:
    before, _ = graph.with_passes([])
    after, records = graph.with_passes(layer_passes())
    assert records == ()
    assert after.graph == before.graph


@pytest.mark.parametrize("name", LOOKALIKES)
@pytest.mark.parametrize("batch", [1, 2])
def test_lookalikes_are_untouched(name: str, batch: int) -> None:
    forward, shape = LOOKALIKES[name]
    x = torch.randn(batch, *shape)
    assert_untouched(exported(lookalike(forward, name), x, "none"))


def running_free(pair: str) -> MomentNorm:
    ratios = {"LN": (0.0, 1.0, 0.0), "IN": (1.0, 0.0, 0.0)}
    mean, var = pair.split("/")
    return MomentNorm2d(
        CHANNELS,
        torch.rand(CHANNELS) + 0.5,
        torch.randn(CHANNELS),
        None,
        eps=1e-5,
        momentum=0.1,
        correction=0,
        mean_ratios=ratios[mean],
        var_ratios=ratios[var],
    )


@pytest.mark.parametrize(
    ("name", "ours", "codes"),
    [
        ("MomentNorm2d", lambda: running_free("LN/IN"), ("one_sample",)),
        ("InstanceCentre2d", lambda: InstanceCentre2d(torch.randn(CHANNELS)), ("bias_with_mean",)),
        (
            "LayerCentre1d",
            lambda: LayerCentre1d(
                torch.rand(CHANNELS) + 0.5, torch.rand(CHANNELS), torch.randn(CHANNELS)
            ),
            ("channel_sum_1d",),
        ),
    ],
)
def test_only_our_layer_of_two_is_rewritten(
    name: str, ours: Callable[[], nn.Module], codes: tuple[str, ...]
) -> None:
    torch.manual_seed(0)
    forward, shape = LOOKALIKES[name]
    x = torch.randn(1, *shape)
    for index, network in enumerate(
        (pair_of(ours(), lookalike(forward, name)), pair_of(lookalike(forward, name), ours()))
    ):
        graph = exported(network, x, "none")
        model, records = graph.with_passes(layer_passes())
        assert tuple(record.code for record in records) == codes
        assert [record.modules for record in records] == [("0",) if index == 0 else ("2",)]
        before, _ = graph.with_passes([])
        (old,), (new,) = outputs(before, x), outputs(model, x)
        with torch.no_grad():
            exact = network.double()(x.double())
        scale = float(exact.abs().max())
        assert float((new - old).abs().max()) <= 4e-6 * scale
        assert float((new.double() - exact).abs().max()) <= 4e-6 * scale


class WithNeighbours(nn.Module):
    """What is subtracted before our layer and added after it is the network's own."""

    def __init__(self) -> None:
        super().__init__()
        self.norm = running_free("LN/IN")
        self.register_buffer("shift", torch.randn(CHANNELS, 1, 1))

    def forward(self, x: Tensor) -> Tensor:
        return self.norm(x - x.amax((2, 3), keepdim=True)) + self.shift


def test_what_surrounds_a_layer_stays() -> None:
    torch.manual_seed(0)
    network, x = WithNeighbours().eval(), torch.randn(1, *LARGE)
    graph = exported(network, x, "none")
    model, records = graph.with_passes(layer_passes())
    assert [(record.code, record.modules) for record in records] == [("one_sample", ("norm",))]
    kinds = [node.op_type for node in model.graph.node]
    assert kinds[:2] == ["ReduceMax", "Sub"]
    assert kinds[-2:] == ["BatchNormalization", "Add"]
    (old,), (new,) = outputs(graph.with_passes([])[0], x), outputs(model, x)
    assert float((new - old).abs().max()) <= 4e-6 * float(old.abs().max())


class Called(nn.Module):
    """One layer under two names, called three times; another one on the same input."""

    def __init__(self) -> None:
        super().__init__()
        self.first = self.second = running_free("LN/IN")
        self.other = running_free("LN/IN")

    def forward(self, x: Tensor) -> Tensor:
        y = self.first(x) + self.other(x)
        return self.first(torch.tanh(y)) + self.second(torch.sin(y))


def test_every_call_of_a_layer_is_rewritten() -> None:
    torch.manual_seed(0)
    network, x = Called().eval(), torch.randn(1, CHANNELS, 9, 8)
    graph = exported(network, x, "none")
    model, records = graph.with_passes(layer_passes())
    assert [(record.code, record.count) for record in records] == [("one_sample", 4)]
    (value,) = outputs(model, x)
    with torch.no_grad():
        exact = network.double()(x.double())
    assert float((value.double() - exact).abs().max()) <= 1e-5 * float(exact.abs().max())
