"""Standard output and error that take any text, and may be closed."""

from __future__ import annotations

import io
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager

_STDERR = 2


@contextmanager
def sound_streams() -> Iterator[None]:
    """While this lasts, no character is too strange for a stream, and none is missing.

    A character that a stream cannot encode is written as Python writes it in ASCII. A stream that
    the caller closed drops what is written, and its number is given to no other file: what C code
    prints would end up in there.
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
    """Open those of standard input, output and error that are closed, to nowhere."""
    opened: list[int] = []
    while True:
        descriptor = os.open(os.devnull, os.O_RDWR)  # the lowest number that is free
        if descriptor > _STDERR:
            os.close(descriptor)
            return opened
        opened.append(descriptor)


def _drop_what_cannot_be_written(stream: io.TextIOWrapper) -> None:
    """Spare Python's own complaint at the end: the command has said what there is to say."""
    try:
        stream.flush()
    except OSError:
        nowhere = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nowhere, stream.fileno())
        os.close(nowhere)
        stream.flush()
