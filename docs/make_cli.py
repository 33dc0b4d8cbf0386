"""Write docs/cli.md from the commands, as typer describes them: ``python docs/make_cli.py``."""

from __future__ import annotations

from pathlib import Path

import typer
from typer.cli import get_docs_for_click
from typer.main import get_command

from ssn_prune.cli.app import app

PAGE = Path(__file__).with_name("cli.md")
NAME = "ssn-prune"


def page() -> str:
    """The text of the page."""
    command = get_command(app)
    for each in command.commands.values():
        each.short_help = each.help.partition("\n")[0]  # else typer cuts it
    context = typer.Context(command, info_name=NAME)
    text = get_docs_for_click(obj=command, ctx=context, name=NAME, title="Command line")
    return text.strip() + "\n"


if __name__ == "__main__":
    PAGE.write_text(page(), encoding="utf-8")
