"""From the keys of a configuration file to the values of a command's options.

Keys are options without their dashes. Those at the top apply to every command that has the option.
A table holds the options of one command, which take precedence::

    arch = "torchvision:resnet50"

    [convert]
    target = "onnxruntime"
    fold = false
"""

from __future__ import annotations

import difflib
import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import typer
from typer.core import TyperOption

from ssn_prune.cli.command_line import OWN
from ssn_prune.cli.config_file import OptionsFile
from ssn_prune.errors import ArgumentError

_LIBRARIES = ("torchvision:", "timm:")
_TRUSTING = ("force", "trust_pt2", "arch_args")
"""Parameters that somebody else's file must not set: they replace files, run code from files, or
make a library's builder download or read others."""
_SHOWN = 12

Options = Mapping[str, TyperOption]


def options_of(command: Any) -> Options:
    """The options of a command that may stand in a file, by their keys."""
    return {
        max(option.opts, key=len).lstrip("-"): option
        for option in command.params
        if isinstance(option, TyperOption) and option.name not in OWN
    }


def option_values(
    file: OptionsFile, command: str, commands: Mapping[str, Options], context: typer.Context
) -> dict[str, Any]:
    """Values for the options of a command, by the names of their parameters.

    The whole file is checked, with the options' own parsers.

    Args:
        file: The configuration file.
        command: The command that runs.
        commands: The options of all commands that read a configuration file.
        context: The context of the running command.

    Raises:
        ArgumentError: Some keys cannot be used; it names all of them.
    """
    values: dict[str, Any] = {}
    wrong: list[str] = []
    for place, key, value in _entries(file.content, commands):
        takers = {name: commands[name] for name in ([place] if place else commands)}
        found = {name: options[key] for name, options in takers.items() if key in options}
        shown = f"[{place}] {key}" if place else key
        problems = [_problem(file, option, value, context) for option in found.values()]
        if not found:
            known = {entry for options in takers.values() for entry in options}
            tables = set() if place or not isinstance(value, dict) else set(commands)
            wrong.append(shown + _near(key, known | tables))
        elif problem := next(filter(None, problems), None):
            wrong.append(f"{shown}: {problem}")
        elif command in found:
            values[found[command].name or ""] = _as_typed(found[command], value)
    if wrong:
        raise _unusable(file.path, wrong)
    return values


def _entries(
    content: Mapping[str, Any], commands: Mapping[str, Options]
) -> Iterator[tuple[str, str, Any]]:
    """Table ("" for the top), key and value of each entry, the top first."""
    tables = {key for key, value in content.items() if key in commands and isinstance(value, dict)}
    yield from (("", key, value) for key, value in content.items() if key not in tables)
    for table in sorted(tables):
        yield from ((table, key, value) for key, value in content[table].items())


def _problem(
    file: OptionsFile, option: TyperOption, value: Any, context: typer.Context
) -> str | None:
    """Why a value cannot be used; None if it can."""
    typed = _as_typed(option, value)
    if typed is None or isinstance(typed, bool) != option.is_flag:
        wanted = "a list of texts" if option.multiple else "one text or number"
        return f"{'true or false' if option.is_flag else wanted} is expected"
    trusting = option.name in _TRUSTING and value
    if not file.named and (trusting or _is_code(option.name, value)):
        return f"only from a file that you name: --config {file.path}"
    try:
        option.process_value(context, typed)
    except typer.BadParameter as error:
        return error.message.removeprefix("Value error, ").removesuffix(".")
    return None


def _is_code(name: str | None, value: Any) -> bool:
    """Whether a value names Python code, which would be run."""
    text = str(value)
    if name == "arch":
        return not text.startswith(_LIBRARIES) and (":" in text or "." in text)
    return name in ("data", "test_data") and ":" in text and not Path(text).exists()


def _as_typed(option: TyperOption, value: Any) -> bool | str | list[str] | None:
    """A value as typed: tables as JSON, lists joined by commas; None if it cannot be typed."""
    if isinstance(value, bool):
        return value
    if isinstance(value, str | int | float):
        return [str(value)] if option.multiple else str(value)
    if isinstance(value, dict) and not option.is_flag:
        return json.dumps(value, default=str)
    if isinstance(value, list) and all(_is_word(entry) for entry in value):
        words = list(map(str, value))
        if option.multiple:
            return words
        return ",".join(words) if "," in (option.metavar or "") else None
    return None


def _is_word(value: Any) -> bool:
    return isinstance(value, str | int | float) and not isinstance(value, bool)


def _near(key: str, known: Iterable[str]) -> str:
    matches = difflib.get_close_matches(key, sorted(known), n=2, cutoff=0.6)
    return f" (did you mean {' or '.join(matches)}?)" if matches else " (there is no such option)"


def _unusable(path: Path, wrong: Sequence[str]) -> ArgumentError:
    more = f"; and {len(wrong) - _SHOWN} more" if len(wrong) > _SHOWN else ""
    count = "a key" if len(wrong) == 1 else f"{len(wrong)} keys"
    return ArgumentError(
        f"{path} has {count} that cannot be used",
        expected="options without their dashes, at the top or in the table of a command, with "
        "values that the command line takes",
        found="; ".join(wrong[:_SHOWN]) + more,
        hint="ssn-prune COMMAND --help lists the options; --no-config leaves the file out",
    )
