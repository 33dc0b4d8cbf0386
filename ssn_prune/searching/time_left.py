"""Progress of a long step, with the remaining time."""

from __future__ import annotations

import time

from ssn_prune.progress import Progress


class TimeLeft:
    """Reports the progress of a step and the time left, after each of its equal parts.

    Args:
        progress: Called with the name of the step, the parts done and the time left.
        step: Name of the step.
        parts: Number of its parts.
    """

    def __init__(self, progress: Progress, step: str, parts: int) -> None:
        self._progress, self._step, self._parts = progress, step, parts
        self._done, self._start = 0, time.monotonic()
        progress(step)

    def __call__(self) -> None:
        """Report that one more part is done."""
        self._done += 1
        left = (time.monotonic() - self._start) / self._done * (self._parts - self._done)
        if left > 0:
            self._progress(f"{self._step}: {self._done} of {self._parts}, {_words(left)} left")


def _words(seconds: float) -> str:
    return f"{seconds:.0f} s" if seconds < 90 else f"{seconds / 60:.0f} min"
