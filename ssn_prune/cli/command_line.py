"""The command line as it was typed, in one spelling."""

from __future__ import annotations

import enum
from typing import Any

import typer


def typed_command(context: typer.Context) -> tuple[str, ...]:
    """The words of a command: its arguments, then the options that were given, in long form.

    Args:
        context: Of the command that runs.
    """
    arguments: list[str] = []
    options: list[str] = []
    for parameter in context.command.params:
        name = parameter.name or ""
        source = context.get_parameter_source(name)
        if source is None or source.name != "COMMANDLINE":
            continue
        value = context.params[name]
        values = value if isinstance(value, list | tuple) else [value]
        if parameter.param_type_name == "argument":
            arguments += map(_text, values)
            continue
        for entry in values:
            option = max((*parameter.opts,), key=len)
            if entry is False and parameter.secondary_opts:
                option = parameter.secondary_opts[0]
            options.append(option)
            options += [] if isinstance(entry, bool) else [_text(entry)]
    return ("ssn-prune", context.info_name or "", *arguments, *options)


def _text(value: Any) -> str:
    return str(value.value) if isinstance(value, enum.Enum) else str(value)
