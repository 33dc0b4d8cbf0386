"""Conversions in somebody else's process: one at a time, and without leaving a trace in it."""

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
    """Wrap whatever runs or traces a network, and user code that builds one.

    Other threads that come here wait. The caller's autocast is off inside, and new tensors are
    float32 and on the CPU, whatever the caller's defaults: what is compared and exported is the
    network as it is. Afterwards the random generators of torch, NumPy and Python are in their old
    states, and the defaults are the caller's again.

    torch has one default dtype per process: where it is not float32, other threads that create
    tensors meanwhile get float32 too. The default device is the thread's.

    Raises:
        CaptureError: This process was forked while another thread converted.
    """
    with (
        process_locked() as forked,
        _random_state_kept(),
        _environment_kept(),
        torch.autocast("cpu", enabled=False),
        torch.autocast("cuda", enabled=False),
        _float32_by_default(),
        _cpu_by_default(),
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
    """Undo an environment variable that torch sets when a process captures its first network."""
    named = _CACHE in os.environ
    try:
        yield
    finally:
        if not named:
            os.environ.pop(_CACHE, None)


@contextlib.contextmanager
def _float32_by_default() -> Iterator[None]:
    before = torch.get_default_dtype()
    if before == torch.float32:
        yield
        return
    torch.set_default_dtype(torch.float32)
    try:
        yield
    finally:
        torch.set_default_dtype(before)


def _cpu_by_default() -> contextlib.AbstractContextManager[object]:
    if torch.get_default_device().type == "cpu":
        return contextlib.nullcontext()
    return torch.device("cpu")


@contextlib.contextmanager
def _one_thread() -> Iterator[None]:
    """Use one thread: OpenMP's threads do not survive a fork, and waiting for them never ends."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)
