"""Python's garbage collector during steps that make many objects."""

from __future__ import annotations

import contextlib
import gc
from collections.abc import Iterator


@contextlib.contextmanager
def collector_paused() -> Iterator[None]:
    """Put off the search for reference cycles.

    Tracing creates hundreds of thousands of objects that all live until it ends. Searching them
    again and again would take a tenth of the tracing time.
    """
    running = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if running:
            gc.enable()
