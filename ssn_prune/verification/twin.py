"""The twin of a network as a file: what a runtime gets right of a network without SSN."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from ssn_prune.errors import SsnPruneError
from ssn_prune.onnx_export.exporter import write_onnx
from ssn_prune.onnx_export.options import ExportOptions
from ssn_prune.pruning.batch_norm_twin import batch_norm_twin
from ssn_prune.runtime.file_options import FileOptions
from ssn_prune.surgery.float64 import float64_copy
from ssn_prune.verification.reference_outputs import ReferenceOutputs, run_float64

Batches = Sequence[tuple[Any, ...]]


@dataclass(frozen=True)
class Twin:
    """The network with BatchNorm alone.

    Attributes:
        path: Its file.
        outputs: What it gives in float64 for the same inputs.
    """

    path: Path
    outputs: ReferenceOutputs


def export_twin(
    original: nn.Module, batches: Batches, options: FileOptions, folder: Path
) -> Twin | None:
    """Export the twin of a network.

    Args:
        original: The network with switchable layers; not changed.
        batches: Inputs of several calls.
        options: How the file was exported that it is the twin of.
        folder: Where its file goes.

    Returns:
        The twin; None if it cannot be exported like that, or does not run.
    """
    twin, path = batch_norm_twin(original), folder / "twin.onnx"
    how = ExportOptions(opset=options.opset, ir_version=options.ir_version, dynamic=options.dynamic)
    try:
        with torch.no_grad():
            write_onnx(twin, _example(batches, options), path, path, how)
        wide = float64_copy(twin)
        exact = [run_float64(wide, batch) for batch in batches]
        return Twin(path, ReferenceOutputs(exact, ()))
    except SsnPruneError:  # the file may have options that we do not export with
        return None


def _example(batches: Batches, options: FileOptions) -> tuple[Any, ...]:
    """Inputs of one call to export with: two samples or more where the batch is open."""
    if options.dynamic == "none":
        return batches[0]
    most = max(batches, key=lambda batch: min(_samples(batch), default=0))
    if min(_samples(most), default=2) >= 2:
        return most
    return tuple(torch.cat([x, x]) if isinstance(x, Tensor) else x for x in most)


def _samples(batch: tuple[Any, ...]) -> list[int]:
    """Samples of each input; none of lists of images, which are no batches."""
    return [len(x) for x in batch if isinstance(x, Tensor)]
