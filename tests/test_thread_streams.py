"""A standard stream that is replaced for one thread."""

from __future__ import annotations

import io
import sys
from concurrent.futures import ThreadPoolExecutor

import pytest

from ssn_prune.thread_streams import thread_stream


def test_only_this_thread_reads_from_the_replaced_stream(monkeypatch: pytest.MonkeyPatch) -> None:
    given = io.StringIO("theirs\nand more\n")
    monkeypatch.setattr(sys, "stdin", given)
    with thread_stream("stdin", io.StringIO("mine\nlast\n")), ThreadPoolExecutor(1) as pool:
        assert input() == "mine"
        assert pool.submit(input).result() == "theirs"
        assert list(sys.stdin) == ["last\n"]
        assert pool.submit(list, sys.stdin).result() == ["and more\n"]
        with pytest.raises(EOFError):
            input()
    assert sys.stdin is given
