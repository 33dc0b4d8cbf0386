"""Conversions in somebody else's process: in turn, and without leaving a trace in it."""

from __future__ import annotations

import contextlib
import os
import random
from collections.abc import Iterator

import numpy as np
import torch

from ssn_prune.process_lock import process_locked

_CACHE = "TORCHINDUCTOR_CACHE_DIR"


@contextlib.contextmanager
def guest() -> Iterator[None]:
    """Around whatever runs or traces a network, and around code of the user that builds one.

    Other threads that come here wait. The caller's autocast is off inside: what is compared and
    exported is the network as it is. Afterwards the random generators of torch, NumPy and Python
    are where they were.

    Raises:
        CaptureError: This process was forked while another thread converted.
    """
    with (
        process_locked() as forked,
        _random_state_kept(),
        _environment_kept(),
        torch.autocast("cpu", enabled=False),
        torch.autocast("cuda", enabled=False),
        _one_thread() if forked else contextlib.nullcontext(),
    ):
        yield


@contextlib.contextmanager
def _random_state_kept() -> Iterator[None]:
    devices = range(torch.cuda.device_count()) if torch.cuda.is_initialized() else ()
    python, arrays = random.getstate(), np.random.get_state(legacy=False)
    try:
        with torch.random.fork_rng(devices=devices):
            yield
    finally:
        np.random.set_state(arrays)
        random.setstate(python)


@contextlib.contextmanager
def _environment_kept() -> Iterator[None]:
    """The first capture of a process makes torch name a folder to its child processes."""
    named = _CACHE in os.environ
    try:
        yield
    finally:
        if not named:
            os.environ.pop(_CACHE, None)


@contextlib.contextmanager
def _one_thread() -> Iterator[None]:
    """OpenMP's threads do not survive a fork: whoever hands them work waits for ever."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)
