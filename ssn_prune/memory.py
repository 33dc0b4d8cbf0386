"""Giving memory back to the system between the phases of a conversion.

The C library keeps freed blocks of less than 32 MB, most kernels among them, for later use. The
next phase, which needs blocks of other sizes, then takes its memory on top. glibc can be asked to
return them; with another C library both functions do less, and the peak is higher.
"""

from __future__ import annotations

import ctypes
import gc
import sys
from typing import Any

_M_MMAP_THRESHOLD = -3  # <malloc.h>
_LARGE = 2**20


def release_memory() -> None:
    """Free what nothing refers to any more, and return it to the system.

    Captured programs are full of reference cycles, which only the garbage collector frees.
    """
    gc.collect()
    trim = _c_function("malloc_trim")
    if trim is not None:
        trim(0)


def return_large_blocks() -> None:
    """Have blocks of a megabyte and more returned as soon as they are freed, in this process.

    For programs, not for libraries: it changes how everything in the process gets its memory.
    """
    option = _c_function("mallopt")
    if option is not None:
        option(_M_MMAP_THRESHOLD, _LARGE)


def _c_function(name: str) -> Any:
    """A function of the C library, None where it has none."""
    return getattr(ctypes.CDLL(None), name, None) if sys.platform == "linux" else None
