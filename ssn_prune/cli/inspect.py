"""``ssn-prune inspect``: what every layer of a checkpoint selected."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from ssn_prune._version import __version__
from ssn_prune.cli.options import AllLayers, Debug, Json, Prefix, Quiet, WeightsEntry
from ssn_prune.cli.runner import exit_on_error
from ssn_prune.cli.traces import traces_of
from ssn_prune.console import (
    Output,
    escape,
    history_table,
    off_simplex_lines,
    selections_line,
    selections_tables,
    show_selection,
    unconverged_table,
)
from ssn_prune.errors import ArgumentError
from ssn_prune.reporting.figures import counted
from ssn_prune.surgery.collector import collector_paused

if TYPE_CHECKING:
    from ssn_prune.progress import Progress
    from ssn_prune.report import ConversionReport
    from ssn_prune.selection import Selection
    from ssn_prune.training.gate_traces import GateTrace


def inspect(
    ckpts: Annotated[
        list[Path],
        typer.Argument(
            metavar="CKPT",
            help="Checkpoint from torch.save, or safetensors; several are compared.",
        ),
    ],
    prefix: Prefix = None,
    weights: WeightsEntry = None,
    history: Annotated[
        Path | None,
        typer.Option(help="Gate history of the training, from GateRecords.save: plot it below."),
    ] = None,
    hash: Annotated[bool, typer.Option("--hash", help="Print the file's SHA-256.")] = False,
    all_layers: AllLayers = False,
    json: Json = False,
    quiet: Quiet = False,
    debug: Debug = False,
) -> None:
    """Show what every layer selected. Nothing is built, run or written."""
    out = Output(as_json=json, quiet=quiet)
    # Everything read lives until the end, so searching for garbage would waste a tenth of the time.
    with exit_on_error(out, debug), collector_paused():
        if len(ckpts) > 1 and history is not None:
            raise ArgumentError(
                "a gate history belongs to one checkpoint",
                expected="one checkpoint",
                found=f"{len(ckpts)} checkpoints and a history",
                hint="give the checkpoint of that training alone",
            )
        with out.steps() as step:
            read = [_read(ckpt, step, prefix, weights, hashed=json or hash) for ckpt in ckpts]
            reports = [report for report, _ in read]
            traces: tuple[GateTrace, ...] = ()
            if history is not None:
                traces = traces_of(history, read[0][1])
        if json:
            from ssn_prune.json_values import to_json

            documents = [to_json(report) for report in reports]
            extra = {"history": to_json(traces)} if history is not None else {}
            out.json(documents[0] | extra if len(ckpts) == 1 else {"checkpoints": documents})
        if len(ckpts) > 1:
            _compare(out, ckpts, reports, every=all_layers)
        else:
            _show(out, reports[0], every=all_layers)
        if hash:
            for report in reports:
                named = f"  {escape(report.source.file_name)}" if len(ckpts) > 1 else ""
                out.message(f"sha256 {report.source.sha256}{named}")
        if traces:
            out.table(history_table(traces, out.width))


def _read(
    ckpt: Path, step: Progress, prefix: str | None, weights: str | None, *, hashed: bool
) -> tuple[ConversionReport, Selection]:
    step(f"reading {ckpt.name}")
    from ssn_prune.checkpoint.source import open_weights
    from ssn_prune.pruning.results import selection_layers
    from ssn_prune.report import SCHEMA_VERSION, ConversionReport
    from ssn_prune.selection import select

    with open_weights(ckpt, weights=weights, prefix=prefix, with_hash=hashed) as opened:
        selection = select(opened.tensors)
        layers = selection_layers(selection)
        return ConversionReport(SCHEMA_VERSION, __version__, opened.source, layers), selection


def _show(out: Output, report: ConversionReport, *, every: bool) -> None:
    source, layers = report.source, report.layers
    named = f" ({source.arch})" if source.arch else ""
    show_selection(out, report, f"{source.file_name}{named}", every=every)
    unconverged = sum(not layer.converged for layer in layers)
    if unconverged:
        out.table(unconverged_table(layers, out.width))
        for line in off_simplex_lines(layers):
            out.message(line)
    mixed = sum(layer.mean.choice != layer.var.choice for layer in layers)
    out.message(
        f"{counted(len(layers), 'layer')}, {unconverged} with gates that are not one-hot, "
        f"{mixed} with different normalizers for mean and variance"
    )


def _compare(
    out: Output, ckpts: list[Path], reports: list[ConversionReport], *, every: bool
) -> None:
    from ssn_prune.reporting.view.layers import layers_of_report

    pairs = zip(_titles(ckpts), reports, strict=True)
    checkpoints = {title: layers_of_report(report) for title, report in pairs}
    for table in selections_tables(checkpoints, out.width, every=every):
        out.table(table)
    out.message(selections_line(checkpoints))


def _titles(ckpts: list[Path]) -> Iterator[str]:
    """File names, with folders where names are equal, and with numbers where those are, too."""
    names = [ckpt.name for ckpt in ckpts]
    if len(set(names)) < len(names):
        names = [str(ckpt) for ckpt in ckpts]
    for index, name in enumerate(names):
        yield name if names.index(name) == index else f"{name} ({index + 1})"
