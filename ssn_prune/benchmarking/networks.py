"""The three networks to measure for a checkpoint: original, pruned, and without norms."""

from __future__ import annotations

from pathlib import Path

import torch
from torch import nn
from torch.nn.modules.conv import _ConvNd

from ssn_prune.benchmarking.records import NORM_FREE, ORIGINAL, PRUNED
from ssn_prune.checkpoint.loading import LoadedCheckpoint
from ssn_prune.conversion import ConvertOptions, convert
from ssn_prune.errors import ExportError
from ssn_prune.example_inputs import example_inputs
from ssn_prune.nn.switchable import SwitchableNorm
from ssn_prune.onnx_export.exporter import export_onnx
from ssn_prune.onnx_export.options import ExportOptions
from ssn_prune.pruning.counting import weighted_form
from ssn_prune.surgery.copying import copy_replacing
from ssn_prune.surgery.from_reference import adopt_layers


def without_norms(model: nn.Module) -> nn.Module:
    """A copy in which every switchable layer is the identity and every convolution has a bias.

    Its outputs are meaningless; it takes the time that the network would take if normalization
    were free.
    """
    result = copy_replacing(model, [(layer, nn.Identity()) for layer in _layers(model)])
    for module in result.modules():
        if isinstance(module, _ConvNd) and module.bias is None:
            module.bias = nn.Parameter(module.weight.new_zeros(module.out_channels))
    return result.eval()


def with_all_statistics(model: nn.Module) -> nn.Module:
    """A copy with constant gates that computes all statistics: the original, made exportable."""
    pairs = [(layer, weighted_form(layer)) for layer in _layers(model)]
    return copy_replacing(model, pairs).eval()


def export_variants(
    loaded: LoadedCheckpoint, options: ConvertOptions, folder: Path, pruned: Path | None = None
) -> tuple[dict[str, Path], dict[str, str]]:
    """Export the three networks of a checkpoint with the same options.

    Args:
        loaded: The checkpoint; not changed.
        options: How to convert, and which checks to run.
        folder: Where the files go.
        pruned: The file of the pruned network, if it exists already.

    Returns:
        The files by name, and by name the reasons why other networks could not be exported.

    Raises:
        SsnPruneError: The checkpoint cannot be converted.
    """
    if pruned is None:
        pruned = folder / f"{PRUNED}.onnx"
        convert(loaded, pruned, options)
    files, missing = {PRUNED: pruned}, {}
    how = ExportOptions(target=options.target, dynamic=options.dynamic_axes)
    inputs = example_inputs(loaded, options.fixed_batch).export
    adopted = adopt_layers(loaded.model)
    for name, change in ((ORIGINAL, with_all_statistics), (NORM_FREE, without_norms)):
        path = folder / f"{name}.onnx"
        try:
            with torch.no_grad():
                export_onnx(change(adopted), inputs, path, options=how)
        except ExportError as error:
            missing[name] = error.problem
            continue
        files[name] = path
    return {name: files[name] for name in (ORIGINAL, PRUNED, NORM_FREE) if name in files}, missing


def _layers(model: nn.Module) -> list[SwitchableNorm]:
    return [module for module in model.modules() if isinstance(module, SwitchableNorm)]
