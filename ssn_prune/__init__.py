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
    from ssn_prune.layers.ssn import SSN2d, set_radius
    from ssn_prune.layers.swap import convert_to_ssn
    from ssn_prune.layers.switch_norm import SwitchNorm2d
    from ssn_prune.math.sparsestmax import sparsestmax
    from ssn_prune.onnx_export.export import ExportOptions, export_onnx
    from ssn_prune.pruning import PruneResult, prune
    from ssn_prune.selection import Selection, select
    from ssn_prune.verification.verify import random_batches, verify

_HOMES = {
    "ConvertOptions": "conversion",
    "ExportOptions": "onnx_export.export",
    "LoadedCheckpoint": "checkpoint.assemble",
    "PruneResult": "pruning",
    "SSN2d": "layers.ssn",
    "Selection": "selection",
    "SsnPruneError": "errors",
    "SwitchNorm2d": "layers.switch_norm",
    "convert": "conversion",
    "convert_to_ssn": "layers.swap",
    "export_onnx": "onnx_export.export",
    "load_checkpoint": "checkpoint.assemble",
    "prune": "pruning",
    "random_batches": "verification.verify",
    "select": "selection",
    "set_radius": "layers.ssn",
    "sparsestmax": "math.sparsestmax",
    "verify": "verification.verify",
}

__all__ = [
    "ConvertOptions",
    "ExportOptions",
    "LoadedCheckpoint",
    "PruneResult",
    "SSN2d",
    "Selection",
    "SsnPruneError",
    "SwitchNorm2d",
    "__version__",
    "convert",
    "convert_to_ssn",
    "export_onnx",
    "load_checkpoint",
    "prune",
    "random_batches",
    "select",
    "set_radius",
    "sparsestmax",
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
