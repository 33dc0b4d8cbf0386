"""What the processes of a search send each other."""

from __future__ import annotations

from typing import Any

import pytest
import torch.distributed as dist

from ssn_prune.errors import DataError
from ssn_prune.searching import processes


class Foreign(Exception):  # noqa: N818  # of somebody's own loader
    """Cannot be made again from its text."""

    def __init__(self, *, place: int) -> None:
        super().__init__(f"image {place}")


@pytest.fixture
def sent(monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """As if this were the first of two processes; what it sends."""
    found: list[Any] = []
    monkeypatch.setattr(processes, "_count", lambda: 2)
    monkeypatch.setattr(dist, "get_rank", lambda: 0)
    monkeypatch.setattr(dist, "broadcast_object_list", lambda what, **_: found.extend(what))
    return found


def test_a_failure_of_the_first_process_reaches_all(sent: list[Any]) -> None:
    def damaged() -> None:
        raise DataError("damaged", expected="a", found="b", hint="c")

    with pytest.raises(DataError, match="damaged"):
        processes.by_first(damaged)
    assert isinstance(sent[1], DataError)


def test_a_failure_that_cannot_be_sent_is_told_in_words(sent: list[Any]) -> None:
    def damaged() -> None:
        raise Foreign(place=3)

    with pytest.raises(RuntimeError, match="Foreign: image 3"):
        processes.by_first(damaged)
