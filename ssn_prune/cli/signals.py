"""Signals that end a command: it cleans up first, and exits with 128 + the signal's number."""

from __future__ import annotations

import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

_NAMES = ("SIGINT", "SIGTERM", "SIGHUP")


class EndedBySignal(BaseException):
    """Raised wherever the main thread is; no error, so that nothing treats it as one.

    Attributes:
        number: The signal.
    """

    def __init__(self, number: int) -> None:
        super().__init__(number)
        self.number = number


@contextmanager
def exit_on_signals() -> Iterator[None]:
    """Exit after clean-up when a signal arrives; signals that are ignored (nohup) stay so."""
    before = {}
    for name in _NAMES:
        number = getattr(signal, name, None)  # Windows lacks some
        if number is not None and signal.getsignal(number) is not signal.SIG_IGN:
            before[number] = signal.signal(number, _raise)
    try:
        yield
    except EndedBySignal as ended:
        _say(f"ended by {signal.Signals(ended.number).name}")
        sys.exit(128 + ended.number)
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _raise(number: int, _frame: FrameType | None) -> None:
    raise EndedBySignal(number)


def _say(text: str) -> None:
    """Print on stderr, if anybody reads it."""
    try:
        sys.stderr.write(text + "\n")
        sys.stderr.flush()
    except (OSError, ValueError, AttributeError):  # broken, closed or missing
        return
