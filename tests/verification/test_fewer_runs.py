"""A conversion runs the original no more often than it has to."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import pytest
import torch
from helpers import tiny_network
from networks import BN, PairNetwork, trained_layer
from torch import Tensor, nn

from ssn_prune import prune
from ssn_prune.checkpoint import running_sums
from ssn_prune.checkpoint.loading import LoadedCheckpoint, Source
from ssn_prune.checkpoint.running_sums import require_averages
from ssn_prune.conversion import convert
from ssn_prune.errors import UnsupportedLayerError, VerificationError
from ssn_prune.nn.switchable import SwitchableNorm
from ssn_prune.normalizer import NormalizerPair
from ssn_prune.onnx_export import exporter as onnx_export
from ssn_prune.pruning.channel_statistics import measure_inputs
from ssn_prune.verification import algebra

SOURCE = Source("c.pth", "0", "zip", None, (), "", 0, "tiny", {}, {})


def test_moments_of_an_earlier_run_give_the_same_plan() -> None:
    network = PairNetwork(0, True, True).eval()
    x = torch.randn(2, 3, 8, 8)
    names = [n for n, module in network.named_modules() if isinstance(module, SwitchableNorm)]
    measured = prune(network, x)
    given = prune(network, x, moments=measure_inputs(network, (x,), names))
    assert given.plan == measured.plan
    assert any(layer.centre is not None for layer in given.plan.layers)


class Counted(nn.Module):
    """Counts its calls by batch size and precision, over all copies."""

    def __init__(self, network: nn.Module, seen: Counter[tuple[int, torch.dtype]]) -> None:
        super().__init__()
        self.network = network
        self.note = lambda x: seen.update([(len(x), x.dtype)])

    def forward(self, x: Tensor) -> Tensor:
        if not torch.compiler.is_compiling():
            self.note(x)
        return self.network(x)


def test_the_original_runs_once_for_both_checks(tmp_path: Path) -> None:
    seen: Counter[tuple[int, torch.dtype]] = Counter()
    network = Counted(tiny_network(), seen).eval()
    convert(LoadedCheckpoint(network, (1, 8, 8), SOURCE), tmp_path / "m.onnx")
    wide = {size: n for (size, dtype), n in seen.items() if dtype is torch.float64}
    assert wide == {1: 1, 2: 2, 3: 1}  # 2: the original, and the pruned network
    narrow = {size: n for (size, dtype), n in seen.items() if dtype is torch.float32}
    assert narrow == {1: 1, 2: 3, 3: 1}  # 2: example inputs, running sums, rounding


def test_the_search_for_running_sums_ends_early(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(running_sums, "ENOUGH_LAYERS", 2)
    calls: list[int] = []
    layers = [trained_layer(3, NormalizerPair(BN, BN), seed) for seed in range(4)]
    network = nn.Sequential(*layers).eval()
    for index, layer in enumerate(layers):
        layer.register_forward_hook(lambda *_, index=index: calls.append(index))
    x = torch.randn(2, 3, 8, 8)
    require_averages(network, (x,))
    assert calls == [0]  # the second one's input was enough
    with torch.no_grad():
        for layer in layers:
            layer.running_var.mul_(1e5)
    with pytest.raises(UnsupportedLayerError, match="sums"):
        require_averages(network, (x,))


def broken(monkeypatch: pytest.MonkeyPatch) -> None:
    """Files get a wrong bias."""
    write = onnx_export.save_checked

    def save(graph, *arguments):
        for value in graph.graph.initializers.values():
            if value.name.endswith("bias"):
                value.const_value.raw.data += 0.1
        return write(graph, *arguments)

    monkeypatch.setattr(onnx_export, "save_checked", save)


@pytest.mark.parametrize("reloads", [False, True])
def test_a_wrong_file_is_blamed_on_a_layer(
    reloads: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    broken(monkeypatch)
    loaded = []

    def load() -> LoadedCheckpoint:
        loaded.append(LoadedCheckpoint(tiny_network().eval(), (1, 8, 8), SOURCE))
        return loaded[-1]

    with pytest.raises(VerificationError, match="first layer that is off: sn") as caught:
        convert(load(), tmp_path / "m.onnx", reload=load if reloads else None)
    assert caught.value.layer == "sn2"  # the IN mean of sn1 cancels a wrong bias in front of it
    assert not list(tmp_path.iterdir())
    sizes = [sum(p.numel() for p in item.model.parameters()) for item in loaded]
    assert (sizes[0] == 0) == reloads
    assert sizes[-1] > 0


def test_a_failed_algebra_check_needs_no_other_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    apply = algebra.rewrite
    calls = []

    def wrong(*arguments, **options):
        calls.append(1)
        pruned = apply(*arguments, **options)
        pruned.register_forward_hook(lambda _module, _inputs, output: output + 1e-3)
        return pruned

    monkeypatch.setattr(algebra, "rewrite", wrong)
    network = tiny_network().eval()
    with pytest.raises(VerificationError, match="the pruned network is not the original"):
        convert(LoadedCheckpoint(network, (1, 8, 8), SOURCE), tmp_path / "m.onnx")
    assert len(calls) == 2  # once more on a float64 copy
