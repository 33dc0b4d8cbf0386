"""Networks under names of their own in a file: ``{"G": ..., "D": ...}``, at any depth."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TypeVar

from ssn_prune.checkpoint.unpickling import Pairs
from ssn_prune.errors import CheckpointError
from ssn_prune.text import listed

State = TypeVar("State", bound=Mapping[str, object])
_DEPTH = 3
_SHOWN = 8
_LONGEST = 80


def entry_of(content: Mapping[str, object], name: str) -> object:
    """What a file holds under a name such as ``G`` or ``models.G``; None if nothing."""
    if name in content:
        return content[name]
    first, *rest = name.split(".")
    value = content.get(first)
    for part in rest:
        value = value.get(part) if isinstance(value, Pairs) else None
    return value


def networks_within(
    content: Mapping[str, object], state_of: Callable[[object], State | None]
) -> dict[str, State]:
    """The state dicts in a file that has none under a usual name, by name of the entry.

    Args:
        content: What the file holds.
        state_of: The state dict that a value is, or None.

    Returns:
        Those with keys such as ``layer.weight``, which the state of an optimizer does not have.
    """
    return dict(_walk(content, state_of, "", _DEPTH, set()))


def _walk(
    content: Mapping[str, object],
    state_of: Callable[[object], State | None],
    path: str,
    depth: int,
    seen: set[int],
) -> Iterator[tuple[str, State]]:
    for key, value in content.items():
        if not isinstance(value, Pairs) or id(value) in seen:
            continue  # a mapping to which a file refers twice counts once
        seen.add(id(value))
        state = state_of(value)
        if state is not None and any("." in name for name in state):
            yield path + key, state
        elif depth > 1:
            yield from _walk(value.text_items(), state_of, f"{path}{key}.", depth - 1, seen)


def several_networks(path: Path, networks: Mapping[str, Sequence[str]]) -> CheckpointError:
    """The error for a file with several networks when the user names none of them.

    Args:
        path: The file.
        networks: The keys of each state dict, by name of its entry.
    """
    names = list(networks)
    shown = listed([name[:_LONGEST] for name in names], _SHOWN)
    with_gates = (name for name in names if any("mean_weight" in key for key in networks[name]))
    return CheckpointError(
        f"{path} holds several networks: {shown}",
        expected="one network, or `weights=` with the entry of one",
        found=f"state dicts under {shown}",
        hint=f"pass `weights={next(with_gates, names[0])[:_LONGEST]!r}`",
    )
