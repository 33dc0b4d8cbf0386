"""``ssn-prune inspect``: what every layer of a checkpoint selected."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from ssn_prune._version import __version__
from ssn_prune.cli.options import Checkpoint, Debug, Json, Prefix, Quiet, WeightsEntry
from ssn_prune.cli.runner import exit_on_error
from ssn_prune.cli.traces import traces_of
from ssn_prune.console import (
    Output,
    history_table,
    off_simplex_lines,
    selection_table,
    unconverged_table,
)
from ssn_prune.surgery.collector import collector_paused

if TYPE_CHECKING:
    from ssn_prune.training.gate_traces import GateTrace


def inspect(
    ckpt: Checkpoint,
    prefix: Prefix = None,
    weights: WeightsEntry = None,
    history: Annotated[
        Path | None,
        typer.Option(help="Gate history of the training (GateRecords.save): plot it below."),
    ] = None,
    hash: Annotated[bool, typer.Option("--hash", help="Print the file's SHA-256.")] = False,
    json: Json = False,
    quiet: Quiet = False,
    debug: Debug = False,
) -> None:
    """Show what every layer selected. Nothing is built, run or written."""
    out = Output(as_json=json, quiet=quiet)
    # All that is read lives until the end: a tenth of the time would go into looking for cycles.
    with exit_on_error(out, debug), collector_paused():
        with out.steps() as step:
            step("reading")
            from ssn_prune.checkpoint.source import open_weights
            from ssn_prune.pruning.results import selection_layers
            from ssn_prune.selection import select

            hashed = json or hash
            with open_weights(ckpt, weights=weights, prefix=prefix, with_hash=hashed) as opened:
                source = opened.source
                layers = selection_layers(select(opened.tensors))
            traces: tuple[GateTrace, ...] = ()
            if history is not None:
                traces = traces_of(history)
        if json:
            from ssn_prune.json_values import to_json
            from ssn_prune.report import SCHEMA_VERSION, ConversionReport

            report = to_json(ConversionReport(SCHEMA_VERSION, __version__, source, layers))
            out.json(report | ({"history": to_json(traces)} if history is not None else {}))
        named = f" ({source.arch})" if source.arch else ""
        out.table(selection_table(layers, f"{source.file_name}{named}"))
        unconverged = sum(not layer.converged for layer in layers)
        if unconverged:
            out.table(unconverged_table(layers))
            for line in off_simplex_lines(layers):
                out.message(line)
        mixed = sum(layer.mean.choice != layer.var.choice for layer in layers)
        out.message(
            f"{len(layers)} layers, {unconverged} with gates that are not one-hot, "
            f"{mixed} with different normalizers for mean and variance"
        )
        if hash:
            out.message(f"sha256 {source.sha256}")
        if traces:
            out.table(history_table(traces))
