"""Turn networks trained with Sparse Switchable Normalization into lean, verified ONNX models.

Every name is imported on first use, so that ``import ssn_prune`` and ``ssn-prune --help`` do not
wait for torch.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

from ssn_prune._version import __version__

if TYPE_CHECKING:
    from ssn_prune.checkpoint.assemble import LoadedCheckpoint, load_checkpoint
    from ssn_prune.conversion import ConvertOptions, convert
    from ssn_prune.errors import SsnPruneError
    from ssn_prune.layers.selected import SelectedNorm
    from ssn_prune.layers.ssn import SSN1d, SSN2d, SSN3d, set_radius
    from ssn_prune.layers.swap import Conversion, SwapRecord, convert_to_ssn
    from ssn_prune.layers.switch_norm import SwitchNorm1d, SwitchNorm2d, SwitchNorm3d
    from ssn_prune.math.sparsestmax import sparsestmax
    from ssn_prune.onnx_export.export import ExportOptions, export_onnx
    from ssn_prune.pruning import PruneResult, prune
    from ssn_prune.selection import Selection, select
    from ssn_prune.training.authors_layout import authors_state_dict
    from ssn_prune.training.distributed import (
        average_running_statistics,
        desynchronize,
        synchronize,
    )
    from ssn_prune.training.freeze import FrozenSelection, freeze_selected
    from ssn_prune.training.history import GateHistory, GateRecords
    from ssn_prune.training.parameters import clip_gate_gradients, gate_parameters, param_groups
    from ssn_prune.training.radius import RadiusSchedule
    from ssn_prune.training.recalibrate import recalibrate
    from ssn_prune.verification.verify import random_batches, verify

_HOMES = {
    "Conversion": "layers.swap",
    "ConvertOptions": "conversion",
    "ExportOptions": "onnx_export.export",
    "FrozenSelection": "training.freeze",
    "GateHistory": "training.history",
    "GateRecords": "training.history",
    "LoadedCheckpoint": "checkpoint.assemble",
    "PruneResult": "pruning",
    "RadiusSchedule": "training.radius",
    "SSN1d": "layers.ssn",
    "SSN2d": "layers.ssn",
    "SSN3d": "layers.ssn",
    "SelectedNorm": "layers.selected",
    "Selection": "selection",
    "SsnPruneError": "errors",
    "SwapRecord": "layers.swap",
    "SwitchNorm1d": "layers.switch_norm",
    "SwitchNorm2d": "layers.switch_norm",
    "SwitchNorm3d": "layers.switch_norm",
    "authors_state_dict": "training.authors_layout",
    "average_running_statistics": "training.distributed",
    "clip_gate_gradients": "training.parameters",
    "convert": "conversion",
    "convert_to_ssn": "layers.swap",
    "desynchronize": "training.distributed",
    "export_onnx": "onnx_export.export",
    "freeze_selected": "training.freeze",
    "gate_parameters": "training.parameters",
    "load_checkpoint": "checkpoint.assemble",
    "param_groups": "training.parameters",
    "prune": "pruning",
    "random_batches": "verification.verify",
    "recalibrate": "training.recalibrate",
    "select": "selection",
    "set_radius": "layers.ssn",
    "sparsestmax": "math.sparsestmax",
    "synchronize": "training.distributed",
    "verify": "verification.verify",
}

__all__ = [
    "Conversion",
    "ConvertOptions",
    "ExportOptions",
    "FrozenSelection",
    "GateHistory",
    "GateRecords",
    "LoadedCheckpoint",
    "PruneResult",
    "RadiusSchedule",
    "SSN1d",
    "SSN2d",
    "SSN3d",
    "SelectedNorm",
    "Selection",
    "SsnPruneError",
    "SwapRecord",
    "SwitchNorm1d",
    "SwitchNorm2d",
    "SwitchNorm3d",
    "__version__",
    "authors_state_dict",
    "average_running_statistics",
    "clip_gate_gradients",
    "convert",
    "convert_to_ssn",
    "desynchronize",
    "export_onnx",
    "freeze_selected",
    "gate_parameters",
    "load_checkpoint",
    "param_groups",
    "prune",
    "random_batches",
    "recalibrate",
    "select",
    "set_radius",
    "sparsestmax",
    "synchronize",
    "verify",
]


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module 'ssn_prune' has no attribute {name!r}")
    value = getattr(importlib.import_module(f"ssn_prune.{_HOMES[name]}"), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted(__all__)
