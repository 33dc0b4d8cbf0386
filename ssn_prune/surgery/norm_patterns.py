"""Which norm layers a caller means: names, patterns of names, and module types."""

from __future__ import annotations

from collections.abc import Iterable
from fnmatch import fnmatchcase

from torch import nn

from ssn_prune.errors import ArgumentError

NamePattern = str | type[nn.Module]


class NormFilter:
    """The caller's ``include`` and ``exclude``.

    Args:
        include: Only these; None for all.
        exclude: Not these; None for none.

    Raises:
        ValueError: Something is neither a name nor a module type.
    """

    def __init__(
        self,
        include: Iterable[NamePattern] | NamePattern | None,
        exclude: Iterable[NamePattern] | NamePattern | None,
    ) -> None:
        self.included = None if include is None else _listed("include", include)
        self.excluded = () if exclude is None else _listed("exclude", exclude)

    def require_matches(self, names: list[str]) -> None:
        """Refuse a name that matches nothing: a typo that would go unnoticed.

        Args:
            names: All names of all norm layers.

        Raises:
            ArgumentError: A name or pattern matches none of them.
        """
        for pattern in (*(self.included or ()), *self.excluded):
            if isinstance(pattern, str) and not any(fnmatchcase(name, pattern) for name in names):
                some = ", ".join(names[:4]) + (", ..." if len(names) > 4 else "")
                raise ArgumentError(
                    f"no norm layer is called {pattern!r}",
                    expected="full names of norm layers, or patterns that match them",
                    found=some or "a network without norm layers",
                    hint=f"patterns match the whole name: {pattern + '.*'!r} is for all those "
                    "inside a module",
                )

    def why_not(self, norm: nn.Module, names: tuple[str, ...]) -> str:
        """Why a layer is left out; empty if it is not.

        Args:
            norm: The layer.
            names: All its names, one of which suffices.
        """
        if self.included is not None and not any(_fits(p, norm, names) for p in self.included):
            return "it is not among those to include"
        for pattern in self.excluded:
            if _fits(pattern, norm, names):
                return f"excluded by {pattern if isinstance(pattern, str) else pattern.__name__}"
        return ""


def _listed(argument: str, given: Iterable[NamePattern] | NamePattern) -> tuple[NamePattern, ...]:
    listed = (given,) if isinstance(given, str | type) else tuple(given)
    for pattern in listed:
        if not isinstance(pattern, str | type):
            raise ValueError(f"{argument} takes names and module types, got {pattern!r}")
    return listed


def _fits(pattern: NamePattern, norm: nn.Module, names: tuple[str, ...]) -> bool:
    if isinstance(pattern, str):
        return any(fnmatchcase(name, pattern) for name in names)
    return isinstance(norm, pattern)
