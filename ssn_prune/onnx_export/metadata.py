"""The metadata of an exported file: its provenance, and the selection."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

import torch

from ssn_prune._version import __version__
from ssn_prune.checkpoint.source import Source
from ssn_prune.images.preprocessing import Preprocessing
from ssn_prune.json_values import to_json
from ssn_prune.pruning.plan import Plan
from ssn_prune.pruning.prune import PruneResult
from ssn_prune.runtime.stored_metadata import (
    NOTE_KEY,
    PREPROCESSING_KEY,
    SELECTION_KEY,
    SHA256_KEY,
    SOURCE_KEY,
)


def layer_paths(plan: Plan) -> dict[str, tuple[str, ...]]:
    """The modules whose output is that of each layer: its own, or the one that absorbed it."""
    paths: dict[str, tuple[str, ...]] = {}
    for layer in plan.layers:
        if not layer.exposed:
            continue
        if layer.fold is not None and layer.moved:
            paths[layer.name] = (_carrier(plan, layer.fold.target),)
        else:
            paths[layer.name] = (layer.name, *layer.aliases)
    return paths


def _carrier(plan: Plan, target: str) -> str:
    """The module whose output is that of a layer that moved into ``target``."""
    absorbing = next((layer for layer in plan.layers if layer.name == target), None)
    if absorbing is not None and absorbing.fold is not None and absorbing.moved:
        return _carrier(plan, absorbing.fold.target)
    return target


def metadata_of(
    source: Source,
    result: PruneResult,
    *,
    rounded: bool,
    any_size: bool,
    preprocessing: Preprocessing | None,
    embedded: bool,
    note: str | None,
) -> dict[str, str]:
    """Provenance and selection as strings, without local paths and times: exports are reproducible.

    Args:
        source: Where the network came from.
        result: The pruned network.
        rounded: Whether gates that were not one-hot were rounded; the selection then has no ratios.
        any_size: Whether the file takes several spatial sizes.
        preprocessing: How images become inputs; None if that is not known.
        embedded: Whether the file itself does the last step, the normalization, and takes pixels.
        note: The user's notes on the preprocessing.
    """
    selection: Mapping[str, Any] = {
        layer.name: {"mean": layer.mean.choice, "var": layer.var.choice, "form": layer.form}
        if layer.converged or rounded
        else {"mean": layer.mean.ratios, "var": layer.var.ratios, "form": layer.form}
        for layer in result.report.layers
    }
    metadata = {
        "ssn_prune.version": __version__,
        SOURCE_KEY: source.file_name,
        SHA256_KEY: source.sha256 or "",
        "ssn_prune.architecture": source.arch or "",
        "ssn_prune.architecture_arguments": json.dumps(source.arch_args, sort_keys=True),
        "ssn_prune.torch_version": torch.__version__.split("+")[0],
        SELECTION_KEY: json.dumps(to_json(selection)),
    }
    if result.report.size_conditions and any_size:
        metadata["ssn_prune.size_conditions"] = json.dumps(result.report.size_conditions)
    adoption = result.report.adoption
    if adoption is not None and adoption.reason == "code_cannot_run":
        metadata["ssn_prune.unverified_layers"] = f"not compared with your code: {adoption.detail}"
    elif adoption is not None and adoption.layers_not_compared:
        metadata["ssn_prune.unverified_layers"] = (
            "not compared with your code, the inputs do not reach them: "
            + ", ".join(adoption.layers_not_compared)
        )
    if preprocessing is not None:
        described = to_json(preprocessing) | {"embedded": embedded}
        metadata[PREPROCESSING_KEY] = json.dumps(described)
    if note is not None:
        metadata[NOTE_KEY] = note
    return metadata
