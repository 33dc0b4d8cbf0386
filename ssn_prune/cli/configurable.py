"""Commands that read options from a file, and can save theirs to one."""

from __future__ import annotations

import functools
import inspect
import shlex
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any

import typer
from typer.core import TyperCommand

from ssn_prune.cli.command_line import OWN, from_file
from ssn_prune.cli.config_file import named_file, nearest_file
from ssn_prune.cli.config_options import option_values, options_of
from ssn_prune.cli.config_saving import config_path, save_config
from ssn_prune.cli.runner import exit_on_error
from ssn_prune.console import Output, escape
from ssn_prune.errors import ArgumentError

_USAGE_ERROR: Any = typer.BadParameter.__base__
"""The base class of what the parser raises; typer does not export it."""

_ADDED = {
    "config": Annotated[
        Path | None,
        typer.Option(
            metavar="FILE.toml",
            help="Read options from this file (default: the nearest ssn-prune.toml, or "
            "[tool.ssn-prune] in the nearest pyproject.toml).",
        ),
    ],
    "no_config": Annotated[
        bool, typer.Option("--no-config", help="Use only the options on the command line.")
    ],
    "save_config": Annotated[
        str | None,
        typer.Option(metavar="FILE.toml", help="Save the options of this run, if it succeeds."),
    ],
}


class ConfigurableCommand(TyperCommand):
    """A command that also reads options from a file; the command line takes precedence."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """Fill in options that were not typed from the file, before any is used.

        With ``--json`` a wrong command line is a document, too.
        """
        typed = list(args)
        try:
            if not ctx.resilient_parsing:
                options = self.make_parser(ctx).parse_args(args=list(args))[0]
                if "help" not in options:
                    with exit_on_error(Output(as_json="json" in options), "debug" in options):
                        _read_options(ctx, options.get("config"), without="no_config" in options)
            return super().parse_args(ctx, args)
        except _USAGE_ERROR as error:
            if "--json" not in typed:
                raise
            with exit_on_error(Output(as_json=True), debug=False):
                raise ArgumentError(
                    error.format_message(),
                    expected=f"the arguments and options of {ctx.command_path}",
                    found=shlex.join(typed),
                    hint=f"{ctx.command_path} --help lists them; a file whose name begins with a "
                    "dash is written as ./-NAME",
                ) from error

    def invoke(self, ctx: Any) -> Any:
        """Say which options came from a file, run, and save the options."""
        params = ctx.params
        out = Output(as_json=params.get("json", False), quiet=params.get("quiet", False))
        saved = params["save_config"]
        with exit_on_error(out, params.get("debug", False)):
            if found := from_file(ctx):
                out.message(f"{escape(ctx.meta[_FILE])}: {escape(', '.join(found))}")
            path = None if saved is None else config_path(saved)
        result = super().invoke(ctx)
        if path is not None:
            with exit_on_error(Output(), params.get("debug", False)):
                save_config(path, ctx)
                out.message(f"[bold]wrote {escape(path)}[/]")
        return result


_FILE = "ssn_prune.options_file"


def configurable(command: Callable[..., None]) -> Callable[..., None]:
    """Add the options about the file to a command function, which does not receive them."""
    signature = inspect.signature(command, eval_str=True)
    defaults = {"config": None, "no_config": False, "save_config": None}
    added = [
        inspect.Parameter(
            name, inspect.Parameter.KEYWORD_ONLY, default=defaults[name], annotation=annotation
        )
        for name, annotation in _ADDED.items()
    ]

    @functools.wraps(command)
    def run(**values: Any) -> None:
        command(**{name: value for name, value in values.items() if name not in OWN})

    parameters = [*signature.parameters.values(), *added]
    run.__dict__["__signature__"] = signature.replace(parameters=parameters)
    run.__annotations__ = {**command.__annotations__, **_ADDED}
    return run


def _read_options(context: typer.Context, given: str | None, *, without: bool) -> None:
    if without:
        if given is not None:
            raise ArgumentError(
                "--config names a file, and --no-config takes none",
                expected="one of them, or neither",
                found=f"--config {given} and --no-config",
                hint="leave --no-config out",
            )
        return
    file = nearest_file(Path.cwd()) if given is None else named_file(Path(given))
    if file is None:
        return
    group: Any = context.find_root().command
    commands = {
        name: options_of(command)
        for name, command in group.commands.items()
        if isinstance(command, ConfigurableCommand)
    }
    context.default_map = option_values(file, context.info_name or "", commands, context)
    context.meta[_FILE] = file.path
