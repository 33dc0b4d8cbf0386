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
from runtime_networks import Network, network_of, samples_of, twin_of
from torch import nn

from ssn_prune import convert
from ssn_prune.checkpoint.loading import LoadedCheckpoint
from ssn_prune.conversion import ConvertOptions
from ssn_prune.surgery.float64 import float64_arithmetic, float64_copy
from ssn_prune.surgery.nested import tensor_leaves

# Where each input of a call begins and ends among the samples.
BATCHES = {"open": ((0, 1), (1, 3), (3, 6)), "fixed": ((0, 1), (1, 2), (2, 3))}
DEFAULT_TARGET = ""
_SAMPLES = 6


@dataclass(frozen=True)
class File:
    """A file to run.

    Attributes:
        network: Name of the network.
        form: ``"open"`` or ``"fixed"``, the batch.
        target: What it was made for; ``"twin"`` for the network with BatchNorm.
        path: Where it lies.
        samples: File with the inputs, one sample an entry.
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
    name: str,
    network: Network,
    targets: Sequence[str],
    folder: Path,
    loaded: LoadedCheckpoint | None,
) -> list[File]:
    """Export a network for each target with an open and a fixed batch, and its twin.

    Args:
        name: Of the network.
        network: The network.
        targets: What it is exported for.
        folder: Where the files go.
        loaded: The trained network, for one that has a checkpoint.
    """
    folder.mkdir(parents=True)
    samples = folder / "samples.npy"
    x = samples_of(network.size, _SAMPLES)
    np.save(samples, x.numpy())
    loaded = loaded or network_of(network, name)
    expected = _in_float64(loaded.model, x, folder / "expected.npz")
    files = []
    for form in BATCHES:
        for target in targets:
            path = folder / f"{target or 'default'}-{form}.onnx"
            how: dict[str, Any] = {"target": target} if target else {}
            if form == "fixed":
                how["static_batch"] = 1
            convert(loaded, path, ConvertOptions(algebra=False, rounding=False, **how))
            files.append(File(name, form, target, path, samples, expected, _sha256(path)))
    ir_version = onnx.load(files[0].path, load_external_data=False).ir_version
    twin = twin_of(network, name)
    expected = _in_float64(twin, x, folder / "expected-twin.npz")
    for form in BATCHES:
        path = folder / f"twin-{form}.onnx"
        _export_twin(twin, x, path, form, ir_version)
        files.append(File(name, form, "twin", path, samples, expected, _sha256(path)))
    return files


def _in_float64(model: nn.Module, x: torch.Tensor, path: Path) -> Path:
    with torch.no_grad(), float64_arithmetic():
        outputs = [tensor_leaves(float64_copy(model)(part.double())) for part in x.split(1)]
    joined = [torch.cat(parts).numpy() for parts in zip(*outputs, strict=True)]
    np.savez(path, **{str(index): value for index, value in enumerate(joined)})
    return path


def _export_twin(model: nn.Module, x: torch.Tensor, path: Path, form: str, ir_version: int) -> None:
    """Export it with torch's exporter alone, with the IR version of our files."""
    is_open = form == "open"
    dynamic = ({0: torch.export.Dim("batch")},) if is_open else None
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.onnx.export(
            model,
            (x[: 2 if is_open else 1],),
            path,
            dynamo=True,
            opset_version=18,
            dynamic_shapes=dynamic,
            external_data=False,
            verbose=False,
        )
    twin = onnx.load(path)
    twin.ir_version = ir_version
    onnx.save(twin, path)


def _sha256(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()
