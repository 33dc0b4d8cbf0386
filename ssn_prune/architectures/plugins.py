"""Architectures of other packages, registered as entry points of ``ssn_prune.architectures``.

A package that was installed is trusted like this one, so a checkpoint may name its architectures
too. One that lies in the current folder was not installed: it may have come with the checkpoint.
"""

from __future__ import annotations

import dataclasses
from importlib.metadata import EntryPoint, entry_points
from pathlib import Path

from ssn_prune.architectures.architecture import Architecture
from ssn_prune.architectures.user_code import stays_running
from ssn_prune.errors import ArchitectureError, first_line

GROUP = "ssn_prune.architectures"


def plugin_names() -> list[str]:
    """Names that installed packages have registered; nothing is imported."""
    return sorted({entry.name for entry in entry_points(group=GROUP) if _installed(entry)})


def plugin(name: str) -> Architecture | None:
    """The architecture that an installed package has registered; None if there is none.

    Raises:
        ArchitectureError: Several packages have registered it, or it cannot be used.
        ArgumentError: Its code ends the program when it is imported.
    """
    found = {
        entry.value: entry for entry in entry_points(group=GROUP, name=name) if _installed(entry)
    }
    if not found:
        return None
    packages = [entry.dist.name if entry.dist else value for value, entry in found.items()]
    if len(found) > 1:
        raise ArchitectureError(
            f"several packages call an architecture {name!r}",
            expected="one of them",
            found=" and ".join(packages),
            hint=f"name the code: `arch={next(iter(found))!r}`, or pip uninstall {packages[1]}",
        )
    ((value, entry),) = found.items()
    with stays_running(value, "is imported"):
        try:
            architecture = entry.load()
        # The package is somebody else's code and may raise anything.
        except Exception as error:
            raise ArchitectureError(
                f"the architecture {name!r} of the package {packages[0]} cannot be imported",
                expected=f"an ssn_prune.Architecture at {value}",
                found=f"{type(error).__name__}: {first_line(error)}",
                hint=f"install that package again, or pip uninstall {packages[0]}",
            ) from error
    if not isinstance(architecture, Architecture):
        raise ArchitectureError(
            f"the package {packages[0]} registers something else as the architecture {name!r}",
            expected=f"an ssn_prune.Architecture at {value}",
            found=type(architecture).__name__,
            hint=f"build it from its factory, if it is one: `arch={value!r}`",
        )
    return dataclasses.replace(architecture, name=name)


def _installed(entry: EntryPoint) -> bool:
    """Whether its package lies outside the current folder."""
    return entry.dist is None or Path(str(entry.dist.locate_file(""))).resolve() != Path.cwd()
