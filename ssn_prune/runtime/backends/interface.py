"""The interface of a runtime: open a file and run it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import numpy as np


class OpenFile(Protocol):
    """Runs a file that is open."""

    def __call__(self, arrays: Sequence[np.ndarray]) -> list[np.ndarray]:
        """Run it once.

        Args:
            arrays: Its inputs, in its order.

        Returns:
            Its outputs, in its order.
        """


@dataclass(frozen=True)
class Backend:
    """One runtime.

    Attributes:
        name: The name by which users choose it.
        title: Its own name, for people.
        requirements: The packages that pip installs for it.
        module: The Python module that runs it.
        open_batch: Whether a file with a dynamic batch, once opened, takes other batch sizes.
        open: Opens a file on the CPU in float32, given the path, the shapes of its inputs with the
            batch, and the number of threads. It may raise anything.
        version: Returns the installed version.
    """

    name: str
    title: str
    requirements: tuple[str, ...]
    module: str
    open_batch: bool
    open: Callable[[Path, Sequence[tuple[int, ...]], int], OpenFile]
    version: Callable[[], str]
