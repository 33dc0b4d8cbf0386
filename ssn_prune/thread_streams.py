"""Standard streams that one thread sees instead of the process's."""

from __future__ import annotations

import contextlib
import io
import sys
import threading
from collections.abc import Iterator
from typing import Any, Literal, TextIO


class _ThreadStream:
    """One stream for the thread that made it, and another one for everybody else."""

    def __init__(self, own: TextIO, others: TextIO) -> None:
        self._own, self._others = own, others
        self._here = threading.local()  # after a fork, a later thread could have the same number
        self._here.replaced = True

    def _stream(self) -> Any:
        return self._own if getattr(self._here, "replaced", False) else self._others

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream(), name)

    def __iter__(self) -> Iterator[str]:
        return iter(self._stream())

    def end(self) -> None:
        """Give the other stream to everybody."""
        self._here.replaced = False


@contextlib.contextmanager
def thread_stream(name: Literal["stdin", "stderr"], stream: TextIO) -> Iterator[None]:
    """While this lasts, ``sys.NAME`` is ``stream`` for this thread; others notice nothing.

    Another thread that replaces the stream meanwhile may put this one back later. It then acts as
    the process's own stream for everybody.
    """
    before = getattr(sys, name)
    shared = _ThreadStream(stream, io.StringIO() if before is None else before)
    try:
        setattr(sys, name, shared)
        yield
    finally:
        shared.end()
        if getattr(sys, name) is shared:
            setattr(sys, name, before)
