"""Keep stdout clean: send what other code, C code included, writes there to stderr."""

from __future__ import annotations

import contextlib
import ctypes
import os
import sys
from collections.abc import Iterator

_STDOUT, _STDERR = 1, 2


@contextlib.contextmanager
def stdout_on_stderr() -> Iterator[None]:
    """Meanwhile, ``sys.stdout`` and its file descriptor write to stderr."""
    with _descriptor_on_stderr(), contextlib.redirect_stdout(sys.stderr):
        yield


@contextlib.contextmanager
def _descriptor_on_stderr() -> Iterator[None]:
    _flush()
    try:
        kept = os.dup(_STDOUT)
    except OSError:  # the process has no stdout
        yield
        return
    try:
        with contextlib.suppress(OSError):  # or it has no stderr
            os.dup2(_STDERR, _STDOUT)
        yield
    finally:
        _flush()
        os.dup2(kept, _STDOUT)
        os.close(kept)


def _flush() -> None:
    """Flush the stdout buffers of Python and of the C library."""
    for stream in (sys.stdout, sys.__stdout__):
        if stream is not None and not stream.closed:
            stream.flush()
    # CDLL(None) gives the C library on POSIX systems only.
    with contextlib.suppress(OSError, TypeError, AttributeError):
        ctypes.CDLL(None).fflush(None)
