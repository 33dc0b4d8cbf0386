"""Python's garbage collector during steps that make many objects."""

from __future__ import annotations

import contextlib
import gc
from collections.abc import Iterator


@contextlib.contextmanager
def collector_paused() -> Iterator[None]:
    """Look for reference cycles afterwards only.

    Tracing makes objects by the hundred thousand that all live until its end. The collector looks
    through them again and again, for a tenth of the time that tracing takes.
    """
    running = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if running:
            gc.enable()
