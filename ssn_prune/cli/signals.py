"""Signals that end a command: it cleans up first, and exits with 128 + the signal's number."""

from __future__ import annotations

import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

_NAMES = ("SIGINT", "SIGTERM", "SIGHUP")


@contextmanager
def exit_on_signals() -> Iterator[None]:
    """Make every such signal a KeyboardInterrupt, and exit with its code.

    Signals that are ignored, as under nohup, stay so.
    """
    arrived: list[int] = []

    def interrupt(number: int, _frame: FrameType | None) -> None:
        arrived.append(number)
        raise KeyboardInterrupt

    before = {}
    for name in _NAMES:
        number = getattr(signal, name, None)  # Windows lacks some
        if number is not None and signal.getsignal(number) is not signal.SIG_IGN:
            before[number] = signal.signal(number, interrupt)
    try:
        yield
    # What the interrupt has become on its way does not matter.
    except BaseException:
        if arrived:
            sys.exit(128 + arrived[0])
        raise
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
