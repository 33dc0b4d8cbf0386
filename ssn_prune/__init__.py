"""Turn networks trained with Sparse Switchable Normalization into lean, verified ONNX models.

The public names are those of ``__init__.pyi``. Each is imported on first use, so that importing the
package and the help of the command line do not wait for torch.
"""

from __future__ import annotations

import ast
import importlib
from pathlib import Path
from typing import Any

from ssn_prune._renamed import renamed


def _modules_of_public_names() -> dict[str, str]:
    stub = ast.parse(Path(__file__).with_name("__init__.pyi").read_text(encoding="utf-8"))
    imports = [node for node in stub.body if isinstance(node, ast.ImportFrom)]
    return {alias.name: f"{__name__}.{node.module}" for node in imports for alias in node.names}


_MODULES = _modules_of_public_names()
__all__ = sorted(_MODULES)


def __getattr__(name: str) -> Any:
    if name not in _MODULES:
        return renamed(__name__, name)
    value = getattr(importlib.import_module(_MODULES[name]), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return list(__all__)
