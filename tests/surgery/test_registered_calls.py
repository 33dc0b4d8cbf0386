"""Layers that the code calls otherwise than by their names: replaced there too, or refused."""

from __future__ import annotations

import functools
import sys
import types
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from foreign_layers import HabitualSwitch
from networks import BN, IN, trained_layer
from torch import Tensor, nn

from ssn_prune import ConvertOptions, convert, load_checkpoint, load_pruned, prune, save_pruned
from ssn_prune.errors import UnsupportedLayerError
from ssn_prune.nn.switchable import SwitchableNorm
from ssn_prune.normalizer import NormalizerPair

X = torch.randn(2, 3, 8, 8, generator=torch.Generator().manual_seed(0))
GLOBAL: dict[str, nn.Module] = {}


class Network(nn.Module):
    """Calls its norm as ``step``, which each way sets."""

    def __init__(self, way: Callable[[Network], Callable[[Tensor], Tensor]]) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, 4, 3)
        self.norm = trained_layer(4, NormalizerPair(IN, BN))
        self.step = way(self)

    def forward(self, x: Tensor) -> Tensor:
        return self.step(self.conv(x)).relu()

    def first_of_table(self, x: Tensor) -> Tensor:
        y: Tensor = self.table["norms"][0](x)
        return y


class Holder:
    def __init__(self, layer: nn.Module) -> None:
        self.layer = layer

    def step(self, x: Tensor) -> Tensor:
        y: Tensor = self.layer(x)
        return y


def in_a_container(model: Network) -> Callable[[Tensor], Tensor]:
    model.table = {"norms": [model.norm]}
    return model.first_of_table


def in_a_partial(model: Network) -> Callable[[Tensor], Tensor]:
    return functools.partial(lambda layer, x: layer(x), model.norm)


def in_an_object(model: Network) -> Callable[[Tensor], Tensor]:
    return Holder(model.norm).step


def as_its_forward(model: Network) -> Callable[[Tensor], Tensor]:
    return model.norm.forward


def as_its_call(model: Network) -> Callable[[Tensor], Tensor]:
    return model.norm.__call__


def in_a_closure(model: Network) -> Callable[[Tensor], Tensor]:
    norm = model.norm
    return lambda x: norm(x)  # the closure is the point


def in_a_closure_over_the_network(model: Network) -> Callable[[Tensor], Tensor]:
    return lambda x: model.norm(x)


def in_a_default(model: Network) -> Callable[[Tensor], Tensor]:
    def step(x: Tensor, layer: nn.Module = model.norm) -> Tensor:
        y: Tensor = layer(x)
        return y

    return step


def from_a_global(x: Tensor) -> Tensor:
    y: Tensor = GLOBAL["norm"](x)
    return y


def in_a_global(model: Network) -> Callable[[Tensor], Tensor]:
    GLOBAL["norm"] = model.norm
    return from_a_global


def expected_outputs(way: Callable[[Network], Callable[[Tensor], Tensor]]) -> Tensor:
    torch.manual_seed(0)
    with torch.no_grad():
        outputs: Tensor = Network(way).eval()(X)
    return outputs


@pytest.mark.parametrize(
    "way", [in_a_container, in_a_partial, in_an_object, as_its_forward, as_its_call]
)
def test_what_can_be_copied_calls_the_new_layer(
    tmp_path: Path, way: Callable[[Network], Callable[[Tensor], Tensor]]
) -> None:
    torch.manual_seed(0)
    network = Network(way).eval()
    pruned = prune(network, X)
    with torch.no_grad():
        # Only a new layer has the constants of the fold, so the old one would be far off.
        assert (pruned.model(X) - expected_outputs(way)).abs().max() < 1e-5
        for parameter in network.parameters():
            parameter.fill_(7.0)
        assert (pruned.model(X) - expected_outputs(way)).abs().max() < 1e-5
    calls: list[nn.Module] = []
    handle = nn.modules.module.register_module_forward_pre_hook(lambda m, _: calls.append(m))
    pruned.model(X)
    handle.remove()
    assert not any(isinstance(module, SwitchableNorm) for module in calls)
    save_pruned(pruned, tmp_path / "pruned.safetensors")
    loaded = load_pruned(tmp_path / "pruned.safetensors", lambda: Network(way))
    with torch.no_grad():
        assert torch.equal(loaded(X), pruned.model(X))


@pytest.mark.parametrize(
    "way", [in_a_closure, in_a_closure_over_the_network, in_a_default, in_a_global]
)
def test_what_cannot_be_copied_is_refused(
    way: Callable[[Network], Callable[[Tensor], Tensor]],
) -> None:
    network = Network(way).eval()
    with pytest.raises(UnsupportedLayerError, match="does not call norm by its registered") as info:
        prune(network, X)
    assert info.value.found is not None
    assert info.value.found.startswith("norm is in ")
    assert "`self.norm` in `forward`" in info.value.hint
    assert not network.norm._forward_pre_hooks


@pytest.mark.parametrize("way", [in_a_closure, in_a_global])
@pytest.mark.parametrize("foreign", [False, True])
def test_so_is_a_loaded_network(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    way: Callable[[Network], Callable[[Tensor], Tensor]],
    foreign: bool,
) -> None:
    class Loaded(Network):
        def __init__(self) -> None:
            super().__init__(lambda _: torch.relu)
            if foreign:
                self.norm = HabitualSwitch(4)
            self.step = way(self)

    module = types.ModuleType("with_closures")
    module.Loaded = Loaded  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "with_closures", module)
    torch.save(Loaded().state_dict(), tmp_path / "weights.pth")
    loaded = load_checkpoint(
        tmp_path / "weights.pth", arch="with_closures:Loaded", input_size=(3, 8, 8)
    )
    options = ConvertOptions(on_unconverged="exact")
    with pytest.raises(UnsupportedLayerError, match="does not call norm by its registered"):
        convert(loaded, tmp_path / "model.onnx", options=options)
    assert not (tmp_path / "model.onnx").exists()


def test_a_closure_that_is_never_called_does_no_harm() -> None:
    network = Network(in_a_container).eval()
    norm = network.norm
    network.scale_of_norm = lambda: norm.weight.abs().mean()
    pruned = prune(network, X)
    with torch.no_grad():
        assert (pruned.model(X) - network(X)).abs().max() < 1e-5
