"""Suppress the output of torch's tracers: warnings, log lines, and prints to standard error."""

from __future__ import annotations

import contextlib
import io
import logging
import warnings
from collections.abc import Iterator


@contextlib.contextmanager
def suppress_tracer_output() -> Iterator[None]:
    """Drop warnings, log lines and prints to standard error; errors are raised as ever.

    A failed capture makes torch print the whole graph so far; its message is in the exception.
    """
    before = logging.root.manager.disable
    logging.disable(logging.CRITICAL)
    try:
        with warnings.catch_warnings(), contextlib.redirect_stderr(io.StringIO()):
            warnings.simplefilter("ignore")
            yield
    finally:
        logging.disable(before)
