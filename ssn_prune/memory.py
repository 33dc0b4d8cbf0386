"""When memory is looked for and given back during a conversion.

The C library keeps freed blocks of less than 32 MB, most kernels among them, for later use. The
next phase, which needs blocks of other sizes, then takes its memory on top. glibc can be asked to
return them; with another C library the peak is higher, and nothing else differs.
"""

from __future__ import annotations

import contextlib
import ctypes
import gc
import sys
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any, ParamSpec, TypeVar

_M_TRIM_THRESHOLD, _M_MMAP_THRESHOLD = -1, -3  # <malloc.h>
_LARGE = 2**17  # as at the start of a process
_LARGEST = 2**22 * ctypes.sizeof(ctypes.c_long)  # as far as glibc raises it by itself

P = ParamSpec("P")
T = TypeVar("T")


def release_memory() -> None:
    """Free what nothing refers to any more, and return it to the system.

    Captured programs are full of reference cycles, which only the garbage collector frees.
    """
    gc.collect()
    trim = _c_function("malloc_trim")
    if trim is not None:
        trim(0)


@contextlib.contextmanager
def collector_paused(*, alone: bool = False) -> Iterator[None]:
    """Look for reference cycles afterwards only, or in :func:`release_memory`.

    Tracing makes objects by the hundred thousand that all live until its end. The collector looks
    through them again and again, for a tenth of the time that tracing takes.

    Args:
        alone: The process does nothing else: what exists already, the better part of it imported
            modules, is not looked through at all.
    """
    running = gc.isenabled()
    gc.disable()
    if alone:
        gc.freeze()
    try:
        yield
    finally:
        if alone:
            gc.unfreeze()
        if running:
            gc.enable()


@contextlib.contextmanager
def returning_blocks() -> Iterator[None]:
    """Have blocks of 128 KB and more returned as soon as they are freed.

    For steps that run in a second thread, which keeps freed blocks at the end of its heap, where
    :func:`release_memory` does not reach, and leaves them to the next thread. It holds for the
    whole process meanwhile and makes networks in torch slower, whose activations are such blocks.
    """
    option = _c_function("mallopt")
    if option is None:
        yield
        return
    option(_M_MMAP_THRESHOLD, _LARGE)
    try:
        yield
    finally:
        option(_M_MMAP_THRESHOLD, _LARGEST)
        option(_M_TRIM_THRESHOLD, 2 * _LARGEST)


def run_returning_blocks(function: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
    """Run a function under :func:`returning_blocks`, in a thread of its own.

    The main thread's heap is full of freed blocks, which would be used again first and not be
    returned.
    """
    with returning_blocks(), ThreadPoolExecutor(1) as pool:
        return pool.submit(function, *args, **kwargs).result()


def _c_function(name: str) -> Any:
    """A function of the C library, None where it has none."""
    return getattr(ctypes.CDLL(None), name, None) if sys.platform == "linux" else None
