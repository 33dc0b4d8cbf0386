"""``ssn-prune costs``: what every pair of normalizers costs at every layer, here or elsewhere."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from ssn_prune.cli.command_line import typed
from ssn_prune.cli.options import (
    Arch,
    ArchArgs,
    Checkpoint,
    Correction,
    Debug,
    InputSize,
    Json,
    Prefix,
    Provider,
    Quiet,
    Target,
    Targets,
    Timeout,
    WeightsEntry,
)
from ssn_prune.cli.parsing import parse_arguments, parse_size
from ssn_prune.cli.reports import report_paths, write_texts
from ssn_prune.cli.runner import exit_on_error
from ssn_prune.cli.targets import require_distinct
from ssn_prune.console import Output, costs_lines, costs_table, escape
from ssn_prune.errors import ArgumentError
from ssn_prune.text import listed

if TYPE_CHECKING:
    from ssn_prune.costs.records import CostOptions, Costs
    from ssn_prune.progress import Progress

NoCache = Annotated[
    bool,
    typer.Option("--no-cache", help="Measure everything again; keep no times for the next run."),
]
CostsFile = Annotated[
    Path | None,
    typer.Option(
        "--costs",
        metavar="FILE",
        help="Use costs that were measured before, here or on another device.",
    ),
]


_OF_TIMING = ("threads", "provider", "runs", "no_cache", "timeout")
_OF_FILES = ("batch", "target", "static")


def costs(
    context: typer.Context,
    ckpt: Checkpoint,
    emit: Annotated[
        Path | None,
        typer.Option(
            metavar="DIR",
            help="Measure nothing here; write the files that another device needs to measure the "
            "costs. Its run.py needs only onnxruntime and numpy.",
        ),
    ] = None,
    output: Annotated[
        str | None,
        typer.Option("--output", "-o", metavar="FILE", help="File to write the costs to, as JSON."),
    ] = None,
    force: Annotated[
        bool, typer.Option("--force", "-f", help="Replace an existing output.")
    ] = False,
    costs_file: CostsFile = None,
    arch: Arch = None,
    arch_args: ArchArgs = None,
    prefix: Prefix = None,
    weights: WeightsEntry = None,
    input_size: InputSize = None,
    correction: Correction = None,
    batch: Annotated[int, typer.Option(min=1, help="Samples per run.")] = 1,
    threads: Annotated[int, typer.Option(min=1, help="Threads of ONNX Runtime.")] = 1,
    provider: Provider = "cpu",
    runs: Annotated[int, typer.Option(min=1, help="Timed runs of each probe, at least.")] = 20,
    target: Target = Targets.portable,
    static: Annotated[
        bool, typer.Option("--static", help="Measure files with a fixed batch size.")
    ] = False,
    no_cache: NoCache = False,
    timeout: Timeout = 600,
    json: Json = False,
    quiet: Quiet = False,
    debug: Debug = False,
) -> None:
    """Measure what each pair of normalizers costs at each layer of a network."""
    out = Output(as_json=json, quiet=quiet)
    with exit_on_error(out, debug):
        paths = report_paths("--output", [output] if output else None)
        inputs = {"CKPT": ckpt} if costs_file is None else {"CKPT": ckpt, "--costs": costs_file}
        require_distinct(inputs, [("--output", path) for path in paths])
        if emit is not None and (paths or costs_file is not None):
            raise ArgumentError(
                "--emit writes probes for another device, and no costs",
                expected="--emit alone, or --output and --costs without it",
                found="--emit with --output or --costs",
                hint="leave --emit out, or --output and --costs",
            )
        if emit is not None:
            _require_meaning(
                context, "--emit", _OF_TIMING, "; on the device, python run.py --help lists its own"
            )
        if costs_file is not None:
            _require_meaning(context, "--costs", (*_OF_TIMING, *_OF_FILES))
        with out.steps() as step:
            step("loading")
            from ssn_prune.costs.records import CostOptions
            from ssn_prune.files import require_writable, resolved
            from ssn_prune.json_values import to_json
            from ssn_prune.runtime.providers import provider_named

            for path in paths:
                require_writable(resolved(path), force=force)
            options = CostOptions(
                threads=threads,
                batch=batch,
                runs=runs,
                target=target.value,
                static=static,
                provider=provider_named(provider),
                timeout=timeout,
            )
            load = {
                "arch": arch,
                "arch_args": parse_arguments(arch_args),
                "prefix": prefix,
                "weights": weights,
                "input_size": parse_size(input_size),
                "correction": correction,
            }
            if emit is not None:
                count = _emit(ckpt, load, emit, options, step)
            else:
                found = _costs(ckpt, load, costs_file, options, step, cached=not no_cache)
        if emit is not None:
            if json:
                out.json({"emitted": str(emit), "probes": count})
            folder = escape(str(emit))
            out.message(f"[bold]wrote {count} probes to {folder}[/]; on the device: python run.py")
            return
        document = to_json(found)
        write_texts(paths, lambda _: _text(document))
        if json:
            out.json(document)
        out.table(costs_table(found, out.width))
        for line in costs_lines(found):
            out.message(line)
        for path in paths:
            out.message(f"[bold]wrote {escape(path)}[/]")


def _require_meaning(
    context: typer.Context, given: str, names: Sequence[str], more: str = ""
) -> None:
    """Refuse options of a measurement where nothing is measured here; those of a file may stay.

    Raises:
        ArgumentError: One of them was typed.
    """
    options = typed(context)
    if found := [options[name] for name in names if name in options]:
        raise ArgumentError(
            f"{given} measures nothing here, so {listed(found, 8)} would have no effect",
            expected=f"{given} without the options of a measurement",
            found=f"{given} with {listed(found, 8)}",
            hint=f"leave {listed(found, 8)} out{more}",
        )


def _text(document: Any) -> str:
    import json

    return json.dumps(document, indent=1) + "\n"


def _emit(
    ckpt: Path, load: dict[str, Any], folder: Path, options: CostOptions, step: Progress
) -> int:
    from ssn_prune.checkpoint.loading import load_checkpoint
    from ssn_prune.costs.emitting import emit_probes

    return emit_probes(load_checkpoint(ckpt, **load), folder, options, progress=step)


def _costs(
    ckpt: Path,
    load: dict[str, Any],
    file: Path | None,
    options: CostOptions,
    step: Progress,
    *,
    cached: bool,
) -> Costs:
    """Measure the costs, or read them from a file, which must belong to this network."""
    from ssn_prune.checkpoint.loading import load_checkpoint
    from ssn_prune.costs.cache import default_cache
    from ssn_prune.costs.matching import require_costs_of
    from ssn_prune.costs.measuring import measure_costs
    from ssn_prune.costs.reading import read_costs

    read = None if file is None else read_costs(file)
    loaded = load_checkpoint(ckpt, **load)
    if read is not None:
        require_costs_of(read, loaded)
        return read
    cache = default_cache() if cached else None
    return measure_costs(loaded, options, cache=cache, progress=step)
