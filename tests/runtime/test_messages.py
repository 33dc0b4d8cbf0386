"""Messages between two processes: arrays arrive as they were, and nothing else does."""

from __future__ import annotations

import io

import numpy as np
import pytest

from ssn_prune.runtime.messages import receive, send

ARRAYS = [
    np.arange(6, dtype=np.float32).reshape(2, 3),
    np.array(True),
    np.zeros((0, 3), np.int64),
    np.arange(24, dtype=np.float64).reshape(2, 3, 4).transpose(2, 0, 1),
    np.array([np.nan, np.inf, -0.0], np.float16),
]


def stream_of(content: object, arrays: list[np.ndarray]) -> io.BytesIO:
    stream = io.BytesIO()
    send(stream, {"content": content}, arrays)
    stream.seek(0)
    return stream


def test_arrays_and_values_arrive_as_they_were() -> None:
    content, arrays = receive(stream_of("ä\n", ARRAYS))
    assert content == {"content": "ä\n"}
    assert len(arrays) == len(ARRAYS)
    for found, sent in zip(arrays, ARRAYS, strict=True):
        assert found.dtype == sent.dtype
        np.testing.assert_array_equal(found, sent)
        assert np.array_equal(np.signbit(found), np.signbit(sent)) or found.dtype.kind in "bi"


@pytest.mark.parametrize("cut", [0, 1, 40, -1])
def test_a_message_that_is_cut_is_the_end(cut: int) -> None:
    whole = stream_of(1, ARRAYS).getvalue()
    with pytest.raises(EOFError):
        receive(io.BytesIO(whole[:cut]))


def test_more_than_is_allowed_is_refused_unread() -> None:
    stream = stream_of(1, [np.zeros(100)])
    with pytest.raises(MemoryError):
        receive(stream, 799)


@pytest.mark.parametrize(
    "described", [b'["O", [1]]', b'["S5", [1]]', b'["<f4", [-1]]', b'["nonsense", [1]]']
)
def test_what_is_no_array_of_numbers_is_refused(described: bytes) -> None:
    line = b'{"content": 1, "arrays": [' + described + b"]}\n"
    with pytest.raises((ValueError, TypeError)):
        receive(io.BytesIO(line + bytes(64)))
