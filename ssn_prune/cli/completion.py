"""``ssn-prune completion``: the script that completes commands in a shell."""

from __future__ import annotations

import enum
from importlib import resources
from typing import Annotated

import typer

from ssn_prune.cli.runner import exit_on_error
from ssn_prune.console import Output


class Shells(enum.StrEnum):
    """Shells that can complete commands."""

    bash = "bash"
    zsh = "zsh"
    fish = "fish"


def completion(
    shell: Annotated[Shells, typer.Argument(help="Shell that the script is for.")],
) -> None:
    """Print a completion script for a shell: TAB completes options, architectures and files."""
    out = Output()
    with exit_on_error(out, debug=False):
        script = resources.files("ssn_prune.completion") / "shells" / f"completion.{shell.value}"
        out.plain(script.read_text(encoding="utf-8"))
