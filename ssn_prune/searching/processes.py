"""Divide work among processes; all of them get all results."""

from __future__ import annotations

import pickle
from collections.abc import Callable, Sequence
from typing import Any, TypeVar

import torch.distributed as dist

from ssn_prune.errors import first_line

T = TypeVar("T")
R = TypeVar("R")


def _count() -> int:
    return dist.get_world_size() if dist.is_available() and dist.is_initialized() else 1


def is_first() -> bool:
    """Whether this process measures latencies and writes files."""
    return _count() == 1 or dist.get_rank() == 0


def divided(items: Sequence[T], work: Callable[[Sequence[T]], Sequence[R]]) -> list[R]:
    """Let each process work on its share of the items; all get all results, in the items' order.

    Args:
        items: The same in all processes.
        work: Gives one result for each of its items; not called without items.
    """
    count = _count()
    if count == 1:
        return list(work(items)) if items else []
    own = items[dist.get_rank() :: count]
    shares: list[Any] = [None] * count
    dist.all_gather_object(shares, list(work(own)) if own else [])
    return [shares[index % count][index // count] for index in range(len(items))]


def by_first(work: Callable[[], R]) -> R:
    """Let the first process work while the others wait; all get the result, or its failure.

    Raises:
        Exception: What ``work`` raised, in all processes.
    """
    if _count() == 1:
        return work()
    answer: list[Any] = [None, None]
    if dist.get_rank() == 0:
        try:
            answer[0] = work()
        except Exception as error:  # noqa: BLE001  # raised below in all processes
            answer[1] = _portable(error)
    dist.broadcast_object_list(answer, src=0)
    if answer[1] is not None:
        raise answer[1]
    result: R = answer[0]
    return result


def _portable(error: Exception) -> Exception:
    """An error that the other processes can read; foreign ones may not survive pickling."""
    try:
        pickle.loads(pickle.dumps(error))
    except Exception:  # noqa: BLE001  # of somebody's own class
        told = RuntimeError(f"{type(error).__name__}: {first_line(error)}")
        told.__cause__ = error
        return told
    return error
