"""Public names that were changed: they work for one more release, with a warning."""

from __future__ import annotations

import importlib
import warnings
from typing import Any

# Old name -> the new name in the same module, and the version that changed it.
RENAMED = {
    "ssn_prune.Conversion": ("SwapResult", "0.2"),
    "ssn_prune.errors.UsageError": ("ArgumentError", "0.2"),
}


def renamed(module: str, name: str) -> Any:
    """The object behind an old name of a module; for the module's ``__getattr__``.

    Raises:
        AttributeError: The module never had the name.
    """
    if f"{module}.{name}" not in RENAMED:
        raise AttributeError(f"module {module!r} has no attribute {name!r}")
    new, version = RENAMED[f"{module}.{name}"]
    message = f"{module}.{name} is called {module}.{new} since version {version}"
    warnings.warn(message, DeprecationWarning, stacklevel=3)
    return getattr(importlib.import_module(module), new)
