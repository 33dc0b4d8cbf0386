"""The examples of docs/extending.md on exports do what the page says."""

from __future__ import annotations

import re
import sys
from collections import Counter
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import torch
from format_checks import assert_refuses_other_files, assert_writes_and_runs
from graph_passes import exported, outputs
from networks import IN, LN, PairNetwork
from torch import nn

from ssn_prune import export_formats, prune
from ssn_prune.normalizer import ALL_PAIRS, NormalizerPair
from ssn_prune.onnx_export.passes import table

PAGE = Path(__file__).parents[2] / "docs" / "extending.md"


def example(heading: str, names_of: ModuleType, monkeypatch: pytest.MonkeyPatch) -> Any:
    """The row in the second block of a section, with what the file in its first one defines."""
    section = PAGE.read_text(encoding="utf-8").split(f"\n## {heading}\n")[1].split("\n## ")[0]
    source, row = re.findall(r"```python\n(.*?)```", section, flags=re.DOTALL)
    module = ModuleType("the_example")
    monkeypatch.setitem(sys.modules, module.__name__, module)
    exec(compile(source, str(PAGE), "exec"), vars(module))
    return eval(row, {**vars(names_of), **vars(module)})


def test_another_onnx_pass(monkeypatch: pytest.MonkeyPatch) -> None:
    entry = example("Another ONNX pass", table, monkeypatch)
    network = PairNetwork(correction=0, conv_bias=True, follows_conv=False).eval()
    x = torch.randn(2, 3, 9, 10)
    graph = exported(prune(network, x).model, x, "batch")
    before, _ = graph.with_passes(table.PASSES)
    after, records = graph.with_passes([*table.PASSES, entry])
    fired = {f"layers.{ALL_PAIRS.index(NormalizerPair(mean, LN))}" for mean in (IN, LN)}
    assert records[-1].code == "pooled_mean"
    assert fired <= set(records[-1].modules)
    for value, old in zip(outputs(after, x), outputs(before, x), strict=True):
        torch.testing.assert_close(value, old, rtol=0, atol=1e-6 * float(old.abs().max()))
    kinds = Counter(node.op_type for node in after.graph.node)
    assert kinds["GlobalAveragePool"] == records[-1].count


def test_a_pass_leaves_the_means_of_the_user_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    class Mean(nn.Module):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return x.mean((2, 3), keepdim=True).mean(1, keepdim=True)

    entry = example("Another ONNX pass", table, monkeypatch)
    graph = exported(nn.Sequential(Mean()), torch.randn(2, 3, 4, 4), "batch")
    assert graph.with_passes([entry])[1] == ()


def test_another_export_format(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    entry = example("Another export format", export_formats, monkeypatch)
    assert entry.name == "json"
    assert_writes_and_runs(entry, tmp_path)
    for file in tmp_path.iterdir():
        file.unlink()
    assert_refuses_other_files(entry, tmp_path)
