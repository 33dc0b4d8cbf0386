"""Suppress the output of torch's tracers: warnings, log lines, and prints to standard error.

All of it goes through objects that the whole process shares, but only the output of this thread is
dropped. What other threads print, log or warn of in the meantime is kept.
"""

from __future__ import annotations

import contextlib
import io
import logging
import warnings
from collections.abc import Iterator
from contextvars import ContextVar
from typing import Any

import torch

from ssn_prune.thread_streams import thread_stream

_TRACE = "torch.__trace"
"""torch's logger for trace files. Its handler removes itself once it finds that no trace is wanted;
as long as it is there, torch formats every graph."""
_silent: ContextVar[bool] = ContextVar("silent", default=False)  # every thread has its own value


class _SilentThread(type):
    """The metaclass of a warning that matches every warning of a silent thread."""

    def __subclasscheck__(cls, other: type) -> bool:
        return _silent.get()


class _AnyWarning(Warning, metaclass=_SilentThread):
    pass


def _is_heard(record: logging.LogRecord) -> bool:
    del record
    return not _silent.get()


@contextlib.contextmanager
def suppress_tracer_output() -> Iterator[None]:
    """Drop warnings, log lines and prints to standard error; errors are raised as usual.

    A failed capture makes torch print the whole graph so far; its message is in the exception.
    """
    if _silent.get():
        yield
        return
    token = _silent.set(True)
    try:
        with (
            thread_stream("stderr", io.StringIO()),
            _without_warnings(),
            _without_log_lines(),
            _without_monitor(),
        ):
            yield
    finally:
        _silent.reset(token)


@contextlib.contextmanager
def _without_warnings() -> Iterator[None]:
    warnings.simplefilter("ignore", _AnyWarning)
    filters, entry = warnings.filters, warnings.filters[0]
    try:
        yield
    finally:
        # Another thread may use a copy of the list meanwhile (catch_warnings), or take it back.
        for listed in (filters, warnings.filters):
            if entry in listed:
                listed.remove(entry)  # type: ignore[attr-defined]  # a list, typed as a sequence


@contextlib.contextmanager
def _without_log_lines() -> Iterator[None]:
    known = list(logging.root.manager.loggerDict.items())
    loggers = [logging.root, *(logger for name, logger in known if name != _TRACE)]
    handlers = {handler for logger in loggers for handler in getattr(logger, "handlers", ())}
    if logging.lastResort is not None:
        handlers.add(logging.lastResort)
    for handler in handlers:
        handler.addFilter(_is_heard)
    try:
        yield
    finally:
        for handler in handlers:
            handler.removeFilter(_is_heard)


@contextlib.contextmanager
def _without_monitor() -> Iterator[None]:
    """Keep tqdm from starting its monitor thread, which its first bar does, shown or not."""
    bar: Any = torch.hub.tqdm  # type: ignore[attr-defined]  # torch's substitute has no monitor
    if not hasattr(bar, "monitor_interval"):
        yield
        return
    before, bar.monitor_interval = bar.monitor_interval, 0
    try:
        yield
    finally:
        bar.monitor_interval = before
