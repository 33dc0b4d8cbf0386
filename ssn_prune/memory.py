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
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any, ParamSpec, TypeVar

import torch

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
def returning_blocks(least: int = _LARGE) -> Iterator[None]:
    """Have large blocks returned as soon as they are freed.

    For steps that make and drop kernels between smaller blocks that stay: whether the next kernel
    fits in there is a matter of luck. And for steps in a second thread, which keeps freed blocks at
    the end of its heap, where :func:`release_memory` does not reach. It holds for the whole process
    meanwhile and makes networks in torch slower, whose activations are such blocks.

    Args:
        least: Bytes of the smallest of them, at least 128 KB.
    """
    option = _c_function("mallopt")
    if option is None:
        yield
        return
    option(_M_MMAP_THRESHOLD, min(max(least, _LARGE), _LARGEST))
    try:
        yield
    finally:
        option(_M_MMAP_THRESHOLD, _LARGEST)
        option(_M_TRIM_THRESHOLD, 2 * _LARGEST)


def run_in_thread(function: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
    """Run a function in a thread of its own, for :func:`returning_blocks`.

    The main thread's heap is full of freed blocks, which would be used again first, broken up and
    not be returned. An interrupt ends the function at its next step.
    """
    inference, device = torch.is_inference_mode_enabled(), torch.get_default_device()
    threads: list[int] = []

    def run() -> T:
        threads.append(threading.get_ident())
        with torch.inference_mode(inference), device:  # each thread has its own
            return function(*args, **kwargs)

    with ThreadPoolExecutor(1) as pool:
        result = pool.submit(run)
        try:
            return result.result()
        finally:
            if not (result.done() or result.cancel()) and threads:
                _interrupt(threads[0])


def _interrupt(thread: int) -> None:
    """Raise an interrupt in a thread, at the next step of its Python code."""
    error = ctypes.py_object(KeyboardInterrupt)
    ctypes.pythonapi.PyThreadState_SetAsyncExc(ctypes.c_ulong(thread), error)


def _c_function(name: str) -> Any:
    """A function of the C library, None where it has none."""
    return getattr(ctypes.CDLL(None), name, None) if sys.platform == "linux" else None
