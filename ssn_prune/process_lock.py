"""One conversion at a time in a process, even after a fork.

While torch traces a network it replaces ``nn.Module.__call__`` and keeps what it has seen in
globals: two threads that trace would record each other's calls. Whatever torch cannot do twice at a
time is therefore done under one lock, and other threads wait.
"""

from __future__ import annotations

import contextlib
import os
import sys
import threading
from collections.abc import Iterator

from ssn_prune.errors import CaptureError


class _ProcessLock:
    """A reentrant lock, and what a fork has made of it.

    Attributes:
        forked: This process was forked by one that had imported ssn_prune.
        abandoned: Another thread held the lock then. It does not exist in this process, where torch
            stays as it left it.
    """

    def __init__(self) -> None:
        self.forked = self.abandoned = False
        self._lock, self._holder = threading.RLock(), 0

    @contextlib.contextmanager
    def held(self) -> Iterator[None]:
        with self._lock:
            before, self._holder = self._holder, threading.get_ident()
            try:
                yield
            finally:
                self._holder = before

    def after_fork(self) -> None:
        """Runs in the child, where only the thread that forked is left."""
        self.forked = True
        if self._holder != threading.get_ident():
            self.abandoned = self.abandoned or self._holder != 0
            self._lock, self._holder = threading.RLock(), 0


# The package's only state that is shared by a process, because what it guards is shared too.
_LOCK = _ProcessLock()
if sys.platform != "win32":
    os.register_at_fork(after_in_child=_LOCK.after_fork)


@contextlib.contextmanager
def process_locked() -> Iterator[bool]:
    """Wait until no other thread converts. Yields whether this process is a forked one.

    Raises:
        CaptureError: This process was forked while another thread converted.
    """
    if _LOCK.abandoned:
        raise CaptureError(
            "this process was forked in the middle of a conversion, so it cannot convert",
            expected="a fork while no other thread converts",
            found="torch as it was left by a thread that does not exist here",
            hint="start processes with multiprocessing.get_context('spawn'), or before the first "
            "conversion",
        )
    with _LOCK.held():
        yield _LOCK.forked
