"""What is asked of a runtime: to open a file and to run it."""

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
        name: As users choose it.
        title: As it calls itself.
        requirements: What pip is given to install it.
        module: What is imported to run it.
        open_batch: Whether an open file takes another batch size, where the file leaves it open.
        open: Opens a file on the CPU in float32: the path, the shapes of its inputs with the batch,
            the number of threads. It may raise anything.
        version: The version that is installed.
    """

    name: str
    title: str
    requirements: tuple[str, ...]
    module: str
    open_batch: bool
    open: Callable[[Path, Sequence[tuple[int, ...]], int], OpenFile]
    version: Callable[[], str]
