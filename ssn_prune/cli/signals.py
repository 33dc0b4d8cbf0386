"""Signals that end a command: it cleans up first, then exits with 128 + the signal's number.

A signal becomes a KeyboardInterrupt, which unwinds the command. Three cases need care:

- While a module of Python or of a package is being imported, an interrupt may abort the process or
  make Python import the module twice. The signal waits until the import is over.
- Python drops an interrupt in a destructor or in the callback of a weak reference. The signal is
  raised again.
- Other code may catch the interrupt as if it were an error of its own. If the command still runs
  after a while, the signal is raised again.
"""

from __future__ import annotations

import signal
import site
import sys
import sysconfig
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import FrameType
from typing import Any

_NAMES = ("SIGINT", "SIGTERM", "SIGHUP")
_AGAIN = 0.02
"""Seconds until a signal that had to wait is tried again."""
_LONGEST_IMPORT = 10.0
"""Seconds after which an import is interrupted all the same."""
_CLEANING = 1.0
"""Seconds in which another signal counts as a repetition, and does not disturb the clean-up."""

_SWALLOWED = 3.0
"""Seconds after which a command that still runs is interrupted again."""


class _Signals:
    """The signals of one command."""

    def __init__(self) -> None:
        self.first: int | None = None
        self.timer: tuple[int, ...] = ()
        self.over = False
        self._arrived = self._raised = 0.0
        self._installed = _folders_of_packages()
        self._report = sys.unraisablehook

    def arrives(self, number: int, frame: FrameType | None) -> None:
        now = time.monotonic()
        if self.first is None:
            self.first, self._arrived = number, now
        if self.over or (self._raised and now - self._raised < _CLEANING):
            return
        can_wait = hasattr(signal, "setitimer") and now - self._arrived < _LONGEST_IMPORT
        if can_wait and _imports_a_package(frame, self._installed):
            self._comes_again()
            return
        self._raised = now
        self._in(_SWALLOWED)
        raise KeyboardInterrupt

    def _again(self, _number: int, frame: FrameType | None) -> None:
        if self.first is not None:
            self.arrives(self.first, frame)

    def _comes_again(self) -> None:
        self._raised = 0.0
        self._in(_AGAIN)

    def _in(self, seconds: float) -> None:
        if hasattr(signal, "setitimer"):  # not on Windows
            signal.signal(signal.SIGALRM, self._again)
            signal.setitimer(signal.ITIMER_REAL, seconds)
            self.timer = (signal.SIGALRM,)

    def dropped(self, report: Any) -> None:
        """Called by Python with an exception that nothing can catch."""
        if self.first is not None and issubclass(report.exc_type, KeyboardInterrupt):
            self._comes_again()
        else:
            self._report(report)


@contextmanager
def exit_on_signals() -> Iterator[None]:
    """Turn each of these signals into a KeyboardInterrupt, and exit with its code.

    Signals that are ignored, as under nohup, stay ignored. Once one has ended the command, the
    others are ignored while the process exits.
    """
    signals = _Signals()
    before: dict[int, Any] = {}
    for name in _NAMES:
        number = getattr(signal, name, None)  # Windows lacks some
        if number is not None and signal.getsignal(number) is not signal.SIG_IGN:
            before[number] = signal.signal(number, signals.arrives)
    hook, sys.unraisablehook = sys.unraisablehook, signals.dropped
    try:
        yield
    # Other code may have turned the interrupt into any other exception.
    except BaseException:
        signals.over = True
        if signals.first is not None:
            sys.exit(128 + signals.first)
        raise
    finally:
        sys.unraisablehook = hook
        if signals.first is not None:
            before |= dict.fromkeys((*before, *signals.timer), signal.SIG_IGN)
        for number, handler in before.items():
            signal.signal(number, handler)


def _folders_of_packages() -> tuple[str, ...]:
    paths = {sysconfig.get_path(name) for name in ("stdlib", "platstdlib", "purelib", "platlib")}
    others = (*site.getsitepackages(), site.getusersitepackages())
    return (*paths, *others, str(Path(__file__).parents[1]))


def _imports_a_package(frame: FrameType | None, installed: tuple[str, ...]) -> bool:
    """Whether the innermost module that is being imported belongs to Python or to a package.

    A module of the user's own, which may train for hours when it is imported, does not count.
    """
    while frame is not None:
        code = frame.f_code
        imports = code.co_filename.startswith("<frozen importlib")
        if imports and code.co_name in ("create_module", "exec_module"):
            # The frames of the module itself say less: one in C may call any Python code, or none.
            path = getattr(frame.f_locals.get("self"), "path", None)
            return path is None or path.startswith(installed)
        frame = frame.f_back
    return False
