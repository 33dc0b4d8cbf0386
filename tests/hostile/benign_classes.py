"""Classes of tools that are not installed here, as their pickles show them."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from enum import Enum
from types import ModuleType
from typing import Any


class _Object:
    """Keeps its arguments, like most option and record classes."""

    def __init__(self, **fields: Any) -> None:
        self.__dict__.update(fields)


def stand_in(module: str, name: str, base: type = _Object) -> type:
    """A class that pickles under this name."""
    return type(name, (base,), {"__module__": module, "__qualname__": name})


def enumeration(module: str, name: str, members: dict[str, Any], base: type | None = None) -> Any:
    """An enumeration that pickles under this name."""
    return Enum(name, members, module=module, type=base)  # type: ignore[misc]


@contextmanager
def importable(*classes: Any) -> Iterator[None]:
    """Meanwhile, pickle can import the classes."""
    added = []
    for kind in classes:
        parts = kind.__module__.split(".")
        for end in range(1, len(parts) + 1):
            path = ".".join(parts[:end])
            if path not in sys.modules:
                sys.modules[path] = ModuleType(path)
                added.append(path)
        setattr(sys.modules[kind.__module__], kind.__name__, kind)
    try:
        yield
    finally:
        for path in added:
            del sys.modules[path]
