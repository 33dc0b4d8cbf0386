"""Functions that run in a thread of their own behave as they would in the caller's."""

from __future__ import annotations

import signal
import threading
import time

import pytest
import torch

from ssn_prune.memory import returning_blocks, run_in_thread


def test_arguments_results_and_errors_pass_through() -> None:
    def divided(a: int, *, by: int) -> tuple[float, int]:
        return a / by, threading.get_ident()

    result, thread = run_in_thread(divided, 6, by=3)
    assert result == 2
    assert thread != threading.get_ident()
    with pytest.raises(ZeroDivisionError):
        run_in_thread(divided, 6, by=0)


def test_the_state_that_torch_keeps_by_thread_is_the_callers() -> None:
    def state() -> tuple[bool, str]:
        return torch.is_inference_mode_enabled(), torch.zeros(1).device.type

    assert run_in_thread(state) == (False, "cpu")
    with torch.inference_mode(), torch.device("meta"):
        assert run_in_thread(state) == (True, "meta")


def test_an_interrupt_ends_the_function() -> None:
    steps = []

    def endless() -> None:
        while True:
            time.sleep(0.01)
            steps.append(1)
            if len(steps) == 5:
                signal.pthread_kill(threading.main_thread().ident, signal.SIGINT)
            assert len(steps) < 1000

    with pytest.raises(KeyboardInterrupt):
        run_in_thread(endless)
    assert 5 <= len(steps) < 1000


@pytest.mark.parametrize("least", [0, 2**20, 2**40])
def test_large_blocks_hold_their_values(least: int) -> None:
    with returning_blocks(least):
        blocks = [run_in_thread(torch.full, (2**18,), float(i)) for i in range(20)]
    assert [float(block.mean()) for block in blocks] == list(range(20))
