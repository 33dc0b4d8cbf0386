"""Turn networks trained with Sparse Switchable Normalization into lean, verified ONNX models.

Every name is imported on first use, so that ``import ssn_prune`` and ``ssn-prune --help`` do not
wait for torch.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

from ssn_prune._version import __version__

if TYPE_CHECKING:
    from ssn_prune.checkpoint.loading import LoadedCheckpoint, load_checkpoint
    from ssn_prune.checkpoint.reference_layout import authors_state_dict
    from ssn_prune.conversion import ConvertOptions, convert
    from ssn_prune.errors import SsnPruneError
    from ssn_prune.nn.selected import SelectedNorm
    from ssn_prune.nn.sparsestmax import sparsestmax
    from ssn_prune.nn.ssn import SSN1d, SSN2d, SSN3d, set_radius
    from ssn_prune.nn.switch_norm import SwitchNorm1d, SwitchNorm2d, SwitchNorm3d
    from ssn_prune.onnx_export.exporter import ExportOptions, export_onnx
    from ssn_prune.pruning.prune import PruneResult, prune
    from ssn_prune.selection import Selection, select
    from ssn_prune.surgery.freeze import FrozenSelection, freeze_selected
    from ssn_prune.surgery.to_ssn import Conversion, SwapRecord, convert_to_ssn
    from ssn_prune.training.distributed import (
        average_running_statistics,
        desynchronize,
        synchronize,
    )
    from ssn_prune.training.history import GateHistory, GateRecords
    from ssn_prune.training.parameters import clip_gate_gradients, gate_parameters, param_groups
    from ssn_prune.training.radius import RadiusSchedule
    from ssn_prune.training.recalibrate import recalibrate
    from ssn_prune.verification.verify import random_batches, verify

_HOMES = {
    "Conversion": "surgery.to_ssn",
    "ConvertOptions": "conversion",
    "ExportOptions": "onnx_export.exporter",
    "FrozenSelection": "surgery.freeze",
    "GateHistory": "training.history",
    "GateRecords": "training.history",
    "LoadedCheckpoint": "checkpoint.loading",
    "PruneResult": "pruning.prune",
    "RadiusSchedule": "training.radius",
    "SSN1d": "nn.ssn",
    "SSN2d": "nn.ssn",
    "SSN3d": "nn.ssn",
    "SelectedNorm": "nn.selected",
    "Selection": "selection",
    "SsnPruneError": "errors",
    "SwapRecord": "surgery.to_ssn",
    "SwitchNorm1d": "nn.switch_norm",
    "SwitchNorm2d": "nn.switch_norm",
    "SwitchNorm3d": "nn.switch_norm",
    "authors_state_dict": "checkpoint.reference_layout",
    "average_running_statistics": "training.distributed",
    "clip_gate_gradients": "training.parameters",
    "convert": "conversion",
    "convert_to_ssn": "surgery.to_ssn",
    "desynchronize": "training.distributed",
    "export_onnx": "onnx_export.exporter",
    "freeze_selected": "surgery.freeze",
    "gate_parameters": "training.parameters",
    "load_checkpoint": "checkpoint.loading",
    "param_groups": "training.parameters",
    "prune": "pruning.prune",
    "random_batches": "verification.verify",
    "recalibrate": "training.recalibrate",
    "select": "selection",
    "set_radius": "nn.ssn",
    "sparsestmax": "nn.sparsestmax",
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
