"""Two networks in turns, so that what is compared does not pile up.

What the layers of a ResNet-152 give for two samples takes in float64 twice the memory of its
weights.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from queue import SimpleQueue
from types import TracebackType
from typing import Generic, TypeVar

import torch
from torch import Tensor

from ssn_prune.verification.taps import Tap

T = TypeVar("T")

# What is asked for is the path of a module, or one of these.
_TO_THE_END = object()
_NO_FURTHER = object()


class _StoppedError(Exception):
    """Ends a run whose values nobody asks for any more."""


class InTurns(Generic[T]):
    """A network that runs only as far as its values are asked for; a context manager.

    It runs in a thread of its own, and only while the thread of the caller waits for it.

    Args:
        run: Runs the network and calls the tap that it is given with what the layers give.
    """

    def __init__(self, run: Callable[[Tap], T]) -> None:
        self._run = run
        self._asked: SimpleQueue[object] = SimpleQueue()
        self._answered: SimpleQueue[None] = SimpleQueue()
        self._wanted: object = _TO_THE_END
        self._ended = self._stopped = False
        self._ahead: dict[str, deque[Tensor]] = {}
        self._pool = ThreadPoolExecutor(1)
        self._result: Future[T] = Future()

    def __enter__(self) -> InTurns[T]:
        inference, device = torch.is_inference_mode_enabled(), torch.get_default_device()
        self._result = self._pool.submit(self._produce, inference, device)
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._stopped = True
        self._asked.put(_NO_FURTHER)
        self._pool.shutdown()

    def take(self, name: str) -> Tensor | None:
        """The next value of a layer, None if there are no more.

        It is valid until the next call. Whatever the run raised is raised here.
        """
        if not self._ahead.get(name):
            self._continue(name)
        values = self._ahead.get(name)
        return values.popleft() if values else None

    def finish(self) -> T:
        """Run to the end.

        Returns:
            What ``run`` returns. Whatever it raised is raised here.
        """
        self._continue(_TO_THE_END)
        return self._result.result()

    @property
    def layers(self) -> dict[str, int]:
        """The layers that have run, in that order, and how many values nobody has taken."""
        return {name: len(values) for name, values in self._ahead.items()}

    def _continue(self, wanted: object) -> None:
        if not self._ended:
            self._asked.put(wanted)
            self._answered.get()
        if self._ended:
            self._result.result()  # raises what the run raised

    def _produce(self, inference: bool, device: torch.device) -> T:
        try:
            self._await_question()
            with torch.inference_mode(inference), device:  # each thread has its own
                return self._run(self._give)
        finally:
            self._ended = True
            self._answered.put(None)

    def _await_question(self) -> None:
        self._wanted = self._asked.get()
        self._stop_if_asked()

    def _stop_if_asked(self) -> None:
        if self._stopped:
            raise _StoppedError

    def _give(self, name: str, value: Tensor) -> None:
        self._stop_if_asked()
        asked_for = name == self._wanted
        # A copy of what lies around: activations that work in place would overwrite it.
        self._ahead.setdefault(name, deque()).append(value if asked_for else value.clone())
        if asked_for:
            self._answered.put(None)
            self._await_question()
