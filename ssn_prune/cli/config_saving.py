"""``--save-config``: the options of a run as a configuration file."""

from __future__ import annotations

import enum
import json
import os
from pathlib import Path
from typing import Any

import typer

from ssn_prune.cli.command_line import OWN, given
from ssn_prune.cli.targets import file_path
from ssn_prune.errors import OutputError
from ssn_prune.files import replacing, require_writable, resolved, write_errors

_OF_ONE_RUN = ("force", "dry_run", "json", "quiet", "debug")
"""Parameters that are not saved."""


def config_path(text: str) -> Path:
    """The file to write. It must not exist, since a user may have written it by hand.

    Raises:
        OutputError: It exists, or cannot be written.
    """
    path = file_path("--save-config", text)
    if path.suffix != ".toml" or path.name == "pyproject.toml" or os.path.lexists(path):
        raise OutputError(
            f"--save-config does not write {path}",
            expected="a new file whose name ends in .toml; ssn-prune.toml is found automatically",
            found="a file that exists" if os.path.lexists(path) else path.name,
            hint="name a new one: --save-config ssn-prune.toml; tables of several files can be "
            "put together by hand",
        )
    require_writable(resolved(path), force=False)
    return path


def save_config(path: Path, context: typer.Context) -> None:
    """Write the options of a command: those typed, and those from a file.

    Args:
        path: The file.
        context: The context of the command.

    Raises:
        OutputError: It cannot be written.
    """
    lines = [f"[{context.info_name}]"]
    for parameter, values in given(context):
        if parameter.param_type_name == "option" and parameter.name not in (*OWN, *_OF_ONE_RUN):
            key = max(parameter.opts, key=len).lstrip("-")
            text = ", ".join(map(toml_value, values))
            lines.append(f"{key} = [{text}]" if parameter.multiple else f"{key} = {text}")
    target = resolved(path)
    with write_errors(target), replacing(target) as partial:
        partial.write_text("\n".join(lines) + "\n", encoding="utf-8", errors="surrogateescape")


def toml_value(value: Any) -> str:
    """A value of an option as TOML writes it."""
    if isinstance(value, enum.Enum):
        value = value.value
    if isinstance(value, bool | int | float):
        return str(value).lower()
    return json.dumps(str(value), ensure_ascii=False).replace("\x7f", "\\u007f")
