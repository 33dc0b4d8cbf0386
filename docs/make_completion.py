"""Write what shells complete: ``commands.json`` and ``architectures.txt`` of the package.

    python docs/make_completion.py

A test compares the files with what this module says.
"""

from __future__ import annotations

import enum
import inspect
import json
import typing
from pathlib import Path
from typing import Any

import timm
import torchvision
import typer

from ssn_prune.architectures.registry import NETWORKS
from ssn_prune.cli.app import app
from ssn_prune.runtime.backends.table import BACKENDS

FOLDER = Path(__file__).parents[1] / "ssn_prune" / "completion"
PATHS = {
    *("ckpt", "ckpts", "checkpoint", "exported", "file", "files", "output", "history"),
    *("data", "test_data", "save", "save_weights", "costs", "journal", "report", "summary"),
    *("from_report", "config", "save_config", "emit", "read", "folder"),
}
"""Parameters whose values are files, whatever their type."""
WORDS = {"runtimes": [backend.name for backend in BACKENDS], "provider": ["cpu", "cuda"]}
"""Values of parameters whose type does not list them."""


def commands() -> str:
    """Commands, their options and what these take, as JSON."""
    root = typer.main.get_command(app)
    found = {"": {"options": _options(root, {})}}
    for info in app.registered_commands:
        annotations = {
            name: parameter.annotation
            for name, parameter in inspect.signature(
                info.callback, eval_str=True
            ).parameters.items()
        }
        name = info.name or info.callback.__name__
        command = root.commands[name]
        arguments = [p for p in command.params if p.param_type_name == "argument"]
        entry = {"help": command.get_short_help_str(70)}
        takes = [_takes(p.name, annotations[p.name]) for p in arguments]
        entry |= {"takes": takes[0]} if takes and takes[0] else {}
        found[name] = entry | {"options": _options(command, annotations)}
    return json.dumps(found, indent=1) + "\n"


def architectures() -> str:
    """Names of architectures, one per line."""
    names = [network.name for network in NETWORKS]
    names += [f"torchvision:{name}" for name in torchvision.models.list_models()]
    names += [f"timm:{name}" for name in timm.list_models()]
    return f"# {versions()}\n" + "".join(f"{name}\n" for name in names)


def versions() -> str:
    """The libraries whose names are listed."""
    return f"torchvision {torchvision.__version__.split('+')[0]}, timm {timm.__version__}"


def _options(command: Any, annotations: dict[str, Any]) -> dict[str, Any]:
    found: dict[str, Any] = {"--help": {"help": "Show this message and exit.", "flag": True}}
    for option in command.params:
        if option.param_type_name != "option":
            continue
        entry: dict[str, Any] = {"help": (option.help or "").split("\n")[0]}
        takes = _takes(option.name, annotations.get(option.name))
        if option.is_flag:
            entry["flag"] = True
        elif takes:
            entry["takes"] = takes
        if option.multiple:
            entry["multiple"] = True
        for name in (*option.opts, *option.secondary_opts):
            found[name] = entry
    return found


def _takes(name: str, annotation: Any) -> str | list[str] | None:
    """What a parameter takes, as ``candidates.py`` reads it."""
    if name == "arch":
        return "architecture"
    if name in WORDS:
        return WORDS[name]
    kinds = list(_flat(annotation))
    for kind in kinds:
        if isinstance(kind, type) and issubclass(kind, enum.Enum):
            return [entry.value for entry in kind]
    return "files" if Path in kinds or name in PATHS else None


def _flat(annotation: Any) -> typing.Iterator[Any]:
    yield annotation
    for inner in typing.get_args(annotation):
        yield from _flat(inner)


if __name__ == "__main__":
    (FOLDER / "commands.json").write_text(commands(), encoding="utf-8")
    (FOLDER / "architectures.txt").write_text(architectures(), encoding="utf-8")
