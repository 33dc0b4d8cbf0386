"""The BatchNorm twin of a network as a file, to measure a runtime's accuracy without SSN."""

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
    """The network with BatchNorm in the place of its switchable layers.

    Attributes:
        path: Its file.
        outputs: Its outputs in float64 for the same inputs.
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
        options: The export options of the file that it is the twin of.
        folder: Where its file is written.

    Returns:
        The twin; None if it cannot be exported with these options, or does not run.
    """
    twin, path = batch_norm_twin(original), folder / "twin.onnx"
    how = ExportOptions(opset=options.opset, ir_version=options.ir_version, dynamic=options.dynamic)
    try:
        with torch.no_grad():
            write_onnx(twin, _example(batches, options), path, path, how)
        wide = float64_copy(twin)
        exact = [run_float64(wide, batch) for batch in batches]
        return Twin(path, ReferenceOutputs(exact, ()))
    except SsnPruneError:  # the file may have options that our exporter does not support
        return None


def _example(batches: Batches, options: FileOptions) -> tuple[Any, ...]:
    """Inputs of one call to export with: two samples or more for a dynamic batch."""
    if options.dynamic == "none":
        return batches[0]
    most = max(batches, key=lambda batch: min(_samples(batch), default=0))
    if min(_samples(most), default=2) >= 2:
        return most
    return tuple(torch.cat([x, x]) if isinstance(x, Tensor) else x for x in most)


def _samples(batch: tuple[Any, ...]) -> list[int]:
    """Number of samples of each input, without lists of images, which are not batches."""
    return [len(x) for x in batch if isinstance(x, Tensor)]
