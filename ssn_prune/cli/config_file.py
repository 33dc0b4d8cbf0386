"""The configuration file: ``ssn-prune.toml``, or ``[tool.ssn-prune]`` in ``pyproject.toml``."""

from __future__ import annotations

import os
import re
import tomllib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ssn_prune.errors import ArgumentError
from ssn_prune.files import bounded_text

NAME = "ssn-prune.toml"
_PROJECT = "pyproject.toml"
_LARGEST = 2**18
_DOTTED = re.compile(r"""(?<![\w-])(?:(?:[\w-]++|"[^"\n]*+"|'[^'\n]*+')[ \t]*+\.[ \t]*+){20}""")
"""tomllib's memory grows with the square of a key's parts: gigabytes for a file of this size."""
_WITHOUT = "--no-config leaves the file out"


@dataclass(frozen=True)
class OptionsFile:
    """The options in a file, not checked yet.

    Attributes:
        path: The file.
        content: Its keys.
        named: Whether the user named it. A file that was found may be somebody else's.
    """

    path: Path
    content: dict[str, Any]
    named: bool


def named_file(path: Path) -> OptionsFile:
    """Read the file that the user named.

    Raises:
        ArgumentError: It cannot be read.
    """
    content = _parsed(path, _text(path))
    if path.name == _PROJECT:
        content = _table(path, content) or {}
    return OptionsFile(path, content, named=True)


def nearest_file(folder: Path) -> OptionsFile | None:
    """The configuration file of a folder or of the nearest folder above it; None if there is none.

    A ``pyproject.toml`` without the table, or one that cannot be read, is another tool's business.

    Raises:
        ArgumentError: The file cannot be read.
    """
    for place in (folder, *folder.parents):
        own = place / NAME
        if os.path.lexists(own):
            return OptionsFile(own, _parsed(own, _text(own)), named=False)
        project = place / _PROJECT
        try:
            text = bounded_text(project, _LARGEST)
        except (OSError, ValueError):
            continue
        if "ssn-prune" in text:
            table = _table(project, _parsed(project, text))
            if table is not None:
                return OptionsFile(project, table, named=False)
    return None


def _text(path: Path) -> str:
    try:
        return bounded_text(path, _LARGEST)
    except (OSError, ValueError) as error:
        found = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
        raise ArgumentError(
            f"the options in {path} cannot be read",
            expected=f"a TOML file of at most {_LARGEST} bytes, in UTF-8",
            found=found,
            hint=f"correct it, or name another one with --config; {_WITHOUT}",
        ) from error


def _parsed(path: Path, text: str) -> dict[str, Any]:
    try:
        if _DOTTED.search(text):
            raise ValueError("a key of more than 20 parts")
        return tomllib.loads(text)
    except (ValueError, RecursionError) as error:  # also raised for numbers with too many digits
        raise ArgumentError(
            f"{path} is not TOML",
            expected="lines such as: target = 'onnxruntime'",
            found="tables nested too deeply" if isinstance(error, RecursionError) else str(error),
            hint=f"mend it; {_WITHOUT}",
        ) from error


def _table(path: Path, content: dict[str, Any]) -> dict[str, Any] | None:
    tools = content.get("tool")
    table = tools.get("ssn-prune") if isinstance(tools, dict) else None
    if table is None or isinstance(table, dict):
        return table
    raise ArgumentError(
        f"tool.ssn-prune in {path} is not a table",
        expected="[tool.ssn-prune], with options below it",
        found=type(table).__name__,
        hint=f"mend it; {_WITHOUT}",
    )
