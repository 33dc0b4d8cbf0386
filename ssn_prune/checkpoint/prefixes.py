"""The prefix that wrappers such as DataParallel and torch.compile put before every key."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Generic, TypeVar

from ssn_prune.checkpoint.wrappers import without_wrappers
from ssn_prune.errors import ArgumentError

T = TypeVar("T")

PREFIXES = ("module.", "_orig_mod.", "model.", "net.", "backbone.")
# Counters of wrappers, not part of the network.
_WRAPPER_KEYS = ("n_averaged",)


@dataclass(frozen=True)
class Stripped(Generic[T]):
    """Weights without their wrapper's prefix.

    Attributes:
        tensors: Renamed keys.
        prefix: What was removed.
        ignored: Keys outside an explicitly given prefix.
    """

    tensors: dict[str, T]
    prefix: str
    ignored: tuple[str, ...]


def strip_prefix(
    tensors: Mapping[str, T], expected: Mapping[str, object] | None, prefix: str | None
) -> Stripped[T]:
    """Remove the prefix that wrappers such as DataParallel put before every key.

    What wrappers of submodules put into the middle of keys is removed too.

    Args:
        tensors: Weights with the file's keys.
        expected: Keys of the network, if known: stripping stops where most of them match.
        prefix: An explicit prefix; keys without it are left out. None removes those of
            :data:`PREFIXES` that all keys have, one after another.

    Raises:
        ArgumentError: No key has the explicit prefix.
    """
    if prefix is not None:
        prefix = prefix if prefix == "" or prefix.endswith(".") else prefix + "."
        kept = {k.removeprefix(prefix): v for k, v in tensors.items() if k.startswith(prefix)}
        if not kept:
            raise ArgumentError(
                f"no key starts with the prefix {prefix!r}",
                expected=f"a prefix of keys such as {', '.join(list(tensors)[:3])}",
                found=repr(prefix),
                hint="leave `prefix=` out to have it found",
            )
        ignored = tuple(k for k in tensors if not k.startswith(prefix))
        return Stripped(without_wrappers(kept, expected), prefix, ignored)
    current = {k: v for k, v in tensors.items() if k not in _WRAPPER_KEYS}
    taken = ""
    best = Stripped(current, taken, ())
    while step := next((p for p in PREFIXES if all(k.startswith(p) for k in current)), None):
        current = {k.removeprefix(step): v for k, v in current.items()}
        taken += step
        if expected is None or _hits(current, expected) >= _hits(best.tensors, expected):
            best = Stripped(current, taken, ())
    return replace(best, tensors=without_wrappers(best.tensors, expected))


def prefixes_with(tensors: Mapping[str, object], expected: Sequence[str]) -> list[str]:
    """The prefixes under which a file has every key of a network, such as ``G.``.

    Args:
        tensors: Weights with the file's keys, among which there may be other keys.
        expected: Keys of the network.
    """
    if not expected:
        return []
    ending = f".{expected[0]}"
    found = (key.removesuffix(ending) + "." for key in tensors if key.endswith(ending))
    return [prefix for prefix in found if all(prefix + key in tensors for key in expected)]


def _hits(tensors: Mapping[str, object], expected: Mapping[str, object]) -> int:
    return sum(key in expected for key in tensors)
