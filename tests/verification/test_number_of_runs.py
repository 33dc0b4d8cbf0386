"""How often a conversion runs the original, and what it says when a check fails."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import pytest
import torch
from helpers import tiny_network
from networks import BN, trained_layer
from torch import Tensor, nn

from ssn_prune.checkpoint import running_sums
from ssn_prune.checkpoint.loading import LoadedCheckpoint, Source
from ssn_prune.checkpoint.running_sums import require_averages
from ssn_prune.conversion import convert
from ssn_prune.errors import UnsupportedLayerError, VerificationError
from ssn_prune.normalizer import NormalizerPair
from ssn_prune.onnx_export import exporter as onnx_export
from ssn_prune.verification import algebra

SOURCE = Source("c.pth", "0", "zip", None, (), "", 0, "tiny", {}, {})


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
    # 2: is it a function of its input (3), moments, running sums, rounding
    assert narrow == {1: 1, 2: 6, 3: 1}


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


def test_a_wrong_file_is_blamed_on_a_layer(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    broken(monkeypatch)
    loaded = LoadedCheckpoint(tiny_network().eval(), (1, 8, 8), SOURCE)
    with pytest.raises(VerificationError, match="first layer that is off: sn") as caught:
        convert(loaded, tmp_path / "m.onnx")
    assert caught.value.layer == "sn2"  # the IN mean of sn1 cancels a wrong bias before it
    assert not list(tmp_path.iterdir())


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
    assert len(calls) == 1
