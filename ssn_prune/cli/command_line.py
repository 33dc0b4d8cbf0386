"""The command line as it was typed, in one spelling."""

from __future__ import annotations

import enum
from collections.abc import Collection, Iterator, Sequence
from typing import Any

import typer


def typed_command(context: typer.Context) -> tuple[str, ...]:
    """The words of a command: its arguments, then the options that were given, in long form.

    Args:
        context: Of the command that runs.
    """
    arguments: list[str] = []
    for parameter, values in _given(context):
        if parameter.param_type_name == "argument":
            arguments += map(_text, values)
    return ("ssn-prune", context.info_name or "", *arguments, *typed_options(context))


def typed_options(context: typer.Context, without: Collection[str] = ()) -> list[str]:
    """The options that were given, in long form.

    Args:
        context: Of the command that runs.
        without: Names of parameters to leave out.
    """
    options: list[str] = []
    for parameter, values in _given(context):
        if parameter.param_type_name == "argument" or parameter.name in without:
            continue
        for entry in values:
            option = max((*parameter.opts,), key=len)
            if entry is False and parameter.secondary_opts:
                option = parameter.secondary_opts[0]
            options.append(option)
            options += [] if isinstance(entry, bool) else [_text(entry)]
    return options


def _given(context: typer.Context) -> Iterator[tuple[Any, Sequence[Any]]]:
    """The parameters that were typed, with their values."""
    for parameter in context.command.params:
        name = parameter.name or ""
        source = context.get_parameter_source(name)
        if source is None or source.name != "COMMANDLINE":
            continue
        value = context.params[name]
        yield parameter, value if isinstance(value, list | tuple) else [value]


def _text(value: Any) -> str:
    return str(value.value) if isinstance(value, enum.Enum) else str(value)
