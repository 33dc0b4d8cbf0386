"""Modules of the current folder, for the user's factory and what it imports.

Python's modules, and the packages that ssn_prune depends on, keep their names: a file
``resource.py`` in the current folder is not taken for the standard library's.
"""

from __future__ import annotations

import contextlib
import functools
import re
import sys
import threading
from collections.abc import Iterator, Sequence
from importlib import metadata
from importlib.abc import MetaPathFinder
from importlib.machinery import ModuleSpec, PathFinder
from pathlib import Path
from types import ModuleType


class _CurrentFolder(MetaPathFinder):
    """Finds top-level modules in one folder, for one thread; packages find their submodules."""

    def __init__(self, folder: Path) -> None:
        self._folder, self._thread = str(folder), threading.get_ident()

    def find_spec(
        self, fullname: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        if path is not None or threading.get_ident() != self._thread:
            return None
        found = PathFinder.find_spec(fullname, [self._folder], target)
        return None if found is None or is_owned(fullname) else found


@contextlib.contextmanager
def current_folder_importable() -> Iterator[None]:
    """While this lasts, modules in the current folder are found before installed ones."""
    finder = _CurrentFolder(Path.cwd())
    sys.meta_path.insert(0, finder)
    try:
        yield
    finally:
        sys.meta_path.remove(finder)


def is_owned(name: str) -> bool:
    """Whether a top-level module belongs to Python or to a package that ssn_prune needs."""
    return name in sys.stdlib_module_names or name in _dependencies()


@functools.cache
def _dependencies() -> frozenset[str]:
    """Top-level modules of ssn_prune and of the packages that it requires, directly or not."""
    required, waiting = set(), ["ssn_prune"]
    while waiting:
        name = waiting.pop()
        with contextlib.suppress(metadata.PackageNotFoundError):
            for line in metadata.requires(name) or ():
                found = re.match(r"[\w.-]+", line)
                if found and "extra ==" not in line and _normal(found[0]) not in required:
                    required.add(_normal(found[0]))
                    waiting.append(found[0])
    return frozenset(
        module
        for module, distributions in metadata.packages_distributions().items()
        if any(_normal(name) in required for name in distributions)
    ) | {"ssn_prune"}


def _normal(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()
