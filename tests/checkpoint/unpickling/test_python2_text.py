"""Byte strings of Python 2 are text where they can be, and bytes where they cannot."""

import ast

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pickle_checks import read

from ssn_prune.checkpoint.unpickling import PickleError


def python2_repr(data):
    """As Python 2 wrote a byte string: repr without the b."""
    return repr(data)[1:].encode()


def as_text(data):
    try:
        return data.decode()
    except UnicodeDecodeError:
        return data


@given(st.binary() | st.text().map(lambda text: text.encode(errors="replace")))
def test_quoted_raw_and_short_strings(data):
    expected = as_text(data)
    assert read(b"S" + python2_repr(data) + b"\n.") == expected
    assert read(b"T" + len(data).to_bytes(4, "little") + data + b".") == expected
    short = data[:255]
    assert read(b"U" + bytes([len(short)]) + short + b".") == as_text(short)


@pytest.mark.parametrize(
    "literal", [r"'\''", r'"\""', r"'\\n'", r"'\x41\101\7\0012'", r"'\a\b\f\v\t\r\n'", "''"]
)
def test_every_escape(literal):
    expected = ast.literal_eval("b" + literal).decode()
    assert read(b"S" + literal.encode() + b"\n.") == expected


@pytest.mark.parametrize(
    "line", [b"a", b"'a", b"'a\"", b"'", b"", b"'\\'", b"'\\q'", b"'\\x4'", b"'\\400'"]
)
def test_what_python2_does_not_write(line):
    with pytest.raises(PickleError, match="string"):
        read(b"S" + line + b"\n.")
