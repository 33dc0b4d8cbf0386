"""The commands. Heavy imports happen inside them, so that ``--help`` is quick."""

from __future__ import annotations

from typing import Annotated

import typer

from ssn_prune._version import __version__
from ssn_prune.cli.bench import bench
from ssn_prune.cli.completion import completion
from ssn_prune.cli.configurable import ConfigurableCommand, configurable
from ssn_prune.cli.convert import convert
from ssn_prune.cli.costs import costs
from ssn_prune.cli.demo import demo
from ssn_prune.cli.doctor import doctor
from ssn_prune.cli.inspect import inspect
from ssn_prune.cli.report import report
from ssn_prune.cli.search import search
from ssn_prune.cli.verify import verify

app = typer.Typer(
    help="Turn a network trained with Sparse Switchable Normalization into a lean, verified ONNX "
    "model.\n\nExit codes: 0 ok, 1 failure, 2 usage, 3 verification failed or the bound of a "
    "search refuted, 4 gates not one-hot.",
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode=None,  # its tables cut long names
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)
for command in (convert, inspect, verify, bench, search, costs, report, demo):
    app.command(cls=ConfigurableCommand)(configurable(command))
app.command()(doctor)
app.command()(completion)


def _version(value: bool) -> None:
    if value:
        typer.echo(__version__)
        raise typer.Exit


@app.callback()
def _root(
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Show the version.")
    ] = False,
) -> None:
    pass
