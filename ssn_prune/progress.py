"""Progress of long operations, and how long their steps took."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass

Progress = Callable[[str], None]
"""Called with the name of each step before it starts."""


def no_progress(_step: str) -> None:
    """Report no progress."""


@dataclass(frozen=True)
class StepTime:
    """How long a step took.

    Attributes:
        step: Its name.
        seconds: From its start to that of the next one.
    """

    step: str
    seconds: float


class StepTimes:
    """Progress that is passed on, with a note of when each step started.

    Args:
        progress: Called with the name of each step before it starts.
    """

    def __init__(self, progress: Progress = no_progress) -> None:
        self._progress = progress
        self._starts: list[tuple[str, float]] = []

    def __call__(self, step: str) -> None:
        """Start a step."""
        self._starts.append((step, time.perf_counter()))
        self._progress(step)

    def until_now(self) -> tuple[StepTime, ...]:
        """All steps so far; the last one ends now."""
        ends = [start for _, start in self._starts[1:]] + [time.perf_counter()]
        return tuple(
            StepTime(step, round(end - start, 3))
            for (step, start), end in zip(self._starts, ends, strict=True)
        )
