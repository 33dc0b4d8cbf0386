"""The command line as it was typed, in one spelling."""

from __future__ import annotations

import enum
from collections.abc import Collection, Iterator, Sequence
from typing import Any

import typer

OWN = ("config", "no_config", "save_config")
"""Parameters about the configuration file itself."""


def typed_command(context: typer.Context) -> tuple[str, ...]:
    """The words of a command: its arguments, then the options that were given, in long form.

    Options from a configuration file are among them; the file itself is not, since they replace it.

    Args:
        context: The context of the running command.
    """
    arguments: list[str] = []
    for parameter, values in given(context):
        if parameter.param_type_name == "argument":
            arguments += map(_text, values)
    return ("ssn-prune", context.info_name or "", *arguments, *typed_options(context))


def typed_options(context: typer.Context, without: Collection[str] = ()) -> list[str]:
    """The options that were given, in long form.

    Args:
        context: The context of the running command.
        without: Names of parameters to leave out.
    """
    options: list[str] = []
    for parameter, values in given(context):
        if parameter.param_type_name == "argument" or parameter.name in (*without, *OWN):
            continue
        for entry in values:
            if entry is False and not parameter.secondary_opts:  # as without the option
                continue
            option = max((*parameter.opts,), key=len)
            if entry is False and parameter.secondary_opts:
                option = parameter.secondary_opts[0]
            options.append(option)
            options += [] if isinstance(entry, bool) else [_text(entry)]
    return options


def given(context: typer.Context) -> Iterator[tuple[Any, Sequence[Any]]]:
    """The parameters that were typed or came from a configuration file, with their values."""
    for parameter in context.command.params:
        if _source(context, parameter) in ("COMMANDLINE", "DEFAULT_MAP"):
            value = context.params[parameter.name or ""]
            yield parameter, value if isinstance(value, list | tuple) else [value]


def typed(context: typer.Context) -> dict[str, str]:
    """The options that were typed, as they are called, by the names of their parameters."""
    return {
        parameter.name or "": max(parameter.opts, key=len)
        for parameter in context.command.params
        if _source(context, parameter) == "COMMANDLINE"
    }


def from_file(context: typer.Context) -> list[str]:
    """The options that came from a file, without their dashes."""
    return [
        max(parameter.opts, key=len).lstrip("-")
        for parameter in context.command.params
        if _source(context, parameter) == "DEFAULT_MAP"
    ]


def _source(context: typer.Context, parameter: Any) -> str | None:
    source = context.get_parameter_source(parameter.name or "")
    return None if source is None else source.name


def _text(value: Any) -> str:
    return str(value.value) if isinstance(value, enum.Enum) else str(value)
