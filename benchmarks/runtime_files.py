"""Export a network and its twin, and compute their outputs in float64."""

from __future__ import annotations

import hashlib
import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import torch
from runtime_networks import BATCH_NORM, REFERENCE, network_of, samples_of
from runtime_verdicts import TWIN
from torch import nn

from ssn_prune import convert, load_checkpoint
from ssn_prune.conversion import ConvertOptions
from ssn_prune.onnx_export.options import Dynamic
from ssn_prune.onnx_export.targets import find_target
from ssn_prune.pruning.batch_norm_twin import batch_norm_twin
from ssn_prune.runtime.backends.fixed_shapes import write_fixed_shapes
from ssn_prune.surgery.float64 import float64_copy
from ssn_prune.surgery.nested import tensor_leaves

# Where each input of a call begins and ends among the samples.
BATCHES = {"open": ((0, 1), (1, 3), (3, 6)), "fixed": ((0, 1), (1, 2), (2, 3))}
_DYNAMIC: dict[str, Dynamic] = {"open": "batch", "fixed": "none"}
_SAMPLES = 6


@dataclass(frozen=True)
class File:
    """A file to run.

    Attributes:
        network: Name of the network.
        form: ``"open"`` or ``"fixed"``, the batch.
        target: What it was made for; ``"twin"`` for the network with BatchNorm.
        path: The file.
        samples: File with the inputs, one sample per entry.
        expected: File with the outputs in float64.
        sha256: Of the file.
    """

    network: str
    form: str
    target: str
    path: Path
    samples: Path
    expected: Path
    sha256: str


def export_all(
    name: str, targets: Sequence[str], folder: Path, checkpoint: Path | None = None
) -> list[File]:
    """Export a network for each target with an open and a fixed batch, and its twin.

    Args:
        name: Of the network.
        targets: What it is exported for.
        folder: Where the files go.
        checkpoint: The trained reference ResNet-18, to use instead of a random one.
    """
    folder.mkdir(parents=True)
    if checkpoint is not None and name == REFERENCE:
        loaded = load_checkpoint(checkpoint)
        twin = batch_norm_twin(loaded.model)
    else:
        loaded, twin = network_of(name), batch_norm_twin(network_of(name, [BATCH_NORM]).model)
    assert loaded.input_size is not None
    samples = folder / "samples.npy"
    x = samples_of(loaded.input_size, _SAMPLES)
    np.save(samples, x.numpy())
    expected = _in_float64(loaded.model, x, folder / "expected.npz")
    files = []
    for target in targets:
        for form in BATCHES:
            if _DYNAMIC[form] not in find_target(target).dynamic:
                continue
            path = folder / f"{target}-{form}.onnx"
            options = ConvertOptions(
                algebra=False, rounding=False, target=target, dynamic=_DYNAMIC[form]
            )
            convert(loaded, path, options)
            files.append(File(name, form, target, path, samples, expected, _sha256(path)))
    expected = _in_float64(twin, x, folder / "expected-twin.npz")
    opened = folder / "twin-open.onnx"
    _export_twin(twin, x, opened)
    (folder / "fixed").mkdir()
    fixed = write_fixed_shapes(opened, [(1, *x.shape[1:])], folder / "fixed")
    for form, path in (("open", opened), ("fixed", fixed)):
        files.append(File(name, form, TWIN, path, samples, expected, _sha256(path)))
    return files


def describe(file: File) -> dict[str, Any]:
    """The facts about a file that the record keeps."""
    model = onnx.load(file.path, load_external_data=False)
    return {
        "network": file.network,
        "form": file.form,
        "target": file.target,
        "sha256": file.sha256,
        "bytes": file.path.stat().st_size,
        "nodes": len(model.graph.node),
        "ir_version": model.ir_version,
        "opset": model.opset_import[0].version,
    }


def _in_float64(model: nn.Module, x: torch.Tensor, path: Path) -> Path:
    wide = float64_copy(model)
    with torch.no_grad():
        outputs = [tensor_leaves(wide(part.double())) for part in x.split(1)]
    joined = [torch.cat(parts).numpy() for parts in zip(*outputs, strict=True)]
    np.savez(path, **{str(index): value for index, value in enumerate(joined)})
    return path


def _export_twin(model: nn.Module, x: torch.Tensor, path: Path) -> None:
    """Export it with torch's exporter alone, and take the IR version that every runtime reads."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.onnx.export(
            model,
            (x[:2],),
            path,
            dynamo=True,
            opset_version=18,
            dynamic_shapes=({0: torch.export.Dim("batch")},),
            external_data=False,
            verbose=False,
        )
    twin = onnx.load(path)
    twin.ir_version = onnx.helper.find_min_ir_version_for(twin.opset_import)
    onnx.save(twin, path)


def _sha256(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()
