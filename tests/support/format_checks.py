"""Checks for every export format: those of the table, and the example in the docs."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from helpers import tiny_network

from ssn_prune import prune
from ssn_prune.errors import SsnPruneError
from ssn_prune.export_formats import ExportFormat
from ssn_prune.onnx_export.options import ExportOptions
from ssn_prune.surgery.float64 import float64_copy
from ssn_prune.verification.compare import rounding_bound


def assert_writes_and_runs(entry: ExportFormat, folder: Path) -> None:
    """The written file reproduces the network, also at other batch sizes."""
    network, x = tiny_network(), torch.randn(2, 1, 8, 8)
    pruned, path = prune(network, x).model, folder / f"m{entry.suffix}"
    steps: list[str] = []
    stats, operators = entry.write(pruned, (x,), path, path, ExportOptions(), steps.append)
    assert steps
    assert stats.file_name == path.name
    assert stats.bytes == sum(file.stat().st_size for file in folder.iterdir())
    assert operators is None or sum(operators.values()) > 0
    run = entry.open(path)
    for batch in (torch.randn(2, 1, 8, 8), torch.randn(5, 1, 8, 8)):
        (found,) = run((batch,))
        with torch.no_grad():
            exact = float64_copy(network)(batch.double())
            own = network(batch)
        own_error = float((own.double() - exact).abs().max())
        error = float((found.double() - exact).abs().max())
        assert error <= rounding_bound(own_error, float(exact.abs().max()))


def assert_refuses_other_files(entry: ExportFormat, folder: Path) -> None:
    """Opening another kind of file raises an error of this package."""
    path = folder / f"m{entry.suffix}"
    path.write_bytes(b"something else")
    with pytest.raises(SsnPruneError):
        entry.open(path)
