"""Make standard output and error take any text, even if they are closed."""

from __future__ import annotations

import io
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager

_STDERR = 2


@contextmanager
def sound_streams() -> Iterator[None]:
    """While this lasts, both streams exist and can encode any character.

    A character that a stream cannot encode is written as a backslash escape. A stream that the
    caller closed discards what is written. Its descriptor stays taken, because C code would print
    into any other file that got it.
    """
    nowhere = _standard_descriptors()
    before = {name: getattr(sys, name) for name in ("stdout", "stderr")}
    modes = {}
    for name, stream in before.items():
        if stream is None:
            setattr(sys, name, open(os.devnull, "w", encoding="utf-8"))  # noqa: SIM115
        elif isinstance(stream, io.TextIOWrapper):
            modes[name] = stream.errors
            stream.reconfigure(errors="backslashreplace")
    try:
        yield
    finally:
        for name, stream in before.items():
            if stream is None:
                getattr(sys, name).close()
                setattr(sys, name, None)
            elif name in modes:
                _drop_what_cannot_be_written(stream)
                stream.reconfigure(errors=modes[name])
        for descriptor in nowhere:
            os.close(descriptor)


def _standard_descriptors() -> list[int]:
    """Open the null device for each of standard input, output and error that is closed."""
    opened: list[int] = []
    while True:
        descriptor = os.open(os.devnull, os.O_RDWR)  # takes the lowest free number
        if descriptor > _STDERR:
            os.close(descriptor)
            return opened
        opened.append(descriptor)


def _drop_what_cannot_be_written(stream: io.TextIOWrapper) -> None:
    """Avoid Python's own message at exit; the command has already reported the error."""
    try:
        stream.flush()
    except OSError:
        nowhere = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nowhere, stream.fileno())
        os.close(nowhere)
        stream.flush()
