"""A bounded walk over the values of a pickle, which may share parts and contain themselves."""

from __future__ import annotations

from collections.abc import Iterator

from ssn_prune.checkpoint.unpickling.errors import TooLargeError
from ssn_prune.checkpoint.unpickling.values import Pairs

_DEEPEST = 500  # Python's pickler gives up at about this depth too


def walk(value: object, budget: int) -> Iterator[object]:
    """Every value that can be reached, the outer ones first; each container is entered once.

    Args:
        value: Where to start.
        budget: Largest number of values to visit.

    Raises:
        TooLargeError: There are more, or they are nested too deeply for anybody to print.
    """
    level: list[object] = [value]
    seen: set[int] = set()
    for _ in range(_DEEPEST):
        below: list[object] = []
        for item in level:
            budget -= 1
            if budget < 0:
                raise TooLargeError("it holds too many values")
            yield item
            if isinstance(item, list | tuple | Pairs) and id(item) not in seen:
                seen.add(id(item))
                inside = (item.keys, item.values) if isinstance(item, Pairs) else (item,)
                for part in inside:
                    below.extend(part)
        if not below:
            return
        level = below
    raise TooLargeError(f"values nested more than {_DEEPEST} deep")
