"""``ssn-prune search``: find a faster selection, and write it as a verified file."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Annotated

import typer

from ssn_prune.cli.command_line import typed_command
from ssn_prune.cli.dry_run import require_nothing_written
from ssn_prune.cli.exit_codes import VERIFICATION
from ssn_prune.cli.images import data_files
from ssn_prune.cli.options import (
    AllLayers,
    AllowUnverified,
    Arch,
    ArchArgs,
    Correction,
    Debug,
    Dynamic,
    InputSize,
    Json,
    Mean,
    Prefix,
    Quiet,
    Resize,
    Std,
    Target,
    Targets,
    TrustStatistics,
    WeightsEntry,
)
from ssn_prune.cli.parsing import parse_arguments, parse_numbers, parse_size
from ssn_prune.cli.reports import (
    Reports,
    failures_reported,
    report_paths,
    require_reports,
    write_reports,
)
from ssn_prune.cli.runner import exit_on_error
from ssn_prune.cli.searching import (
    Request,
    is_first_process,
    joined_processes,
    potential_costs,
    run_search,
)
from ssn_prune.cli.targets import checkpoint_path, default_target, file_path, require_distinct
from ssn_prune.console import (
    Output,
    deployment_lines,
    escape,
    show_conversion,
    show_potential,
    show_search,
)


def search(
    context: typer.Context,
    ckpt: Annotated[str, typer.Argument(metavar="CKPT", help="Trained checkpoint.")],
    data: Annotated[
        str,
        typer.Option(
            metavar="SOURCE",
            help="Images to search with: a folder, x.zip, x.zip/folder, x.npz or "
            "package.module:loader. Labels are used if there are any.",
        ),
    ],
    test_data: Annotated[
        str | None,
        typer.Option(
            metavar="SOURCE",
            help="Other images for the final test (default: half of --data is set aside).",
        ),
    ] = None,
    budget: Annotated[
        float | None,
        typer.Option(
            metavar="RATIO",
            help="Largest latency, relative to the network without norms, such as 1.02.",
        ),
    ] = None,
    max_drop: Annotated[
        float | None,
        typer.Option(
            min=0,
            metavar="POINTS",
            help="Accuracy that may be lost, in points (default without --budget: 0.5).",
        ),
    ] = None,
    output: Annotated[
        str | None, typer.Option("--output", "-o", help="File to write (default: CKPT with .onnx).")
    ] = None,
    save: Annotated[
        str | None,
        typer.Option(metavar="FILE.pth", help="Also save the chosen network as a checkpoint."),
    ] = None,
    costs: Annotated[
        Path | None,
        typer.Option(
            help="Costs of each pair, from ssn-prune costs or from a run on another device "
            "(default: measured here)."
        ),
    ] = None,
    finetune_steps: Annotated[
        int,
        typer.Option(
            min=0, metavar="N", help="Distil faster networks from the original, for N steps each."
        ),
    ] = 0,
    search_images: Annotated[
        int,
        typer.Option(min=8, metavar="N", help="Images to measure candidates with, at most."),
    ] = 160,
    points: Annotated[int, typer.Option(min=2, help="Points of the Pareto front to measure.")] = 12,
    memory: Annotated[
        float, typer.Option(min=0.01, metavar="GB", help="Memory that activations may take.")
    ] = 2.0,
    threads: Annotated[int, typer.Option(min=1, help="Threads of ONNX Runtime.")] = 1,
    batch: Annotated[int, typer.Option(min=1, help="Samples per run, for latencies.")] = 1,
    runs: Annotated[int, typer.Option(min=1, help="Timed runs of each network.")] = 40,
    seed: Annotated[int, typer.Option(help="Seed for dividing the images.")] = 0,
    journal: Annotated[
        Path | None,
        typer.Option(
            help="File that keeps measurements until the end, so that an interrupted search can "
            "resume (default: in the user's cache folder)."
        ),
    ] = None,
    mean: Mean = None,
    std: Std = None,
    resize: Resize = None,
    arch: Arch = None,
    arch_args: ArchArgs = None,
    prefix: Prefix = None,
    weights: WeightsEntry = None,
    input_size: InputSize = None,
    correction: Correction = None,
    target: Target = Targets.portable,
    dynamic: Dynamic = None,
    static_batch: Annotated[
        int | None, typer.Option(min=1, help="Fix the batch size; implies --dynamic none.")
    ] = None,
    report: Reports = None,
    trust_running_statistics: TrustStatistics = False,
    allow_unverified_layers: AllowUnverified = False,
    dry_run: Annotated[
        bool,
        typer.Option("--dry-run", help="Show what each layer costs and could save; do not search."),
    ] = False,
    force: Annotated[
        bool, typer.Option("--force", "-f", help="Replace an existing output.")
    ] = False,
    all_layers: AllLayers = False,
    json: Json = False,
    quiet: Quiet = False,
    debug: Debug = False,
) -> None:
    """Find a faster selection at a bounded loss of accuracy, then convert and verify it.

    The exit code is 3 if the final test refutes the bound on the loss.
    Under torchrun (python -m ssn_prune search ...), the processes share the work.
    """
    first = is_first_process()
    out = Output(as_json=json and first, quiet=quiet or not first)
    with exit_on_error(out, debug), joined_processes():
        arguments, size = parse_arguments(arch_args), parse_size(input_size)
        checkpoint = checkpoint_path(ckpt)
        path = default_target(checkpoint) if output is None else file_path("--output", output)
        reports = report_paths("--report", report)
        saved = None if save is None else file_path("--save", save)
        outputs = [("--output", path), *(("--report", entry) for entry in reports)]
        outputs += [] if saved is None else [("--save", saved)]
        outputs += [] if journal is None else [("--journal", journal)]
        inputs = {"the checkpoint": checkpoint}
        inputs |= {} if costs is None else {"--costs": costs}
        inputs |= data_files({"--data": data, "--test-data": test_data})
        require_distinct(inputs, outputs)
        if dry_run:
            require_nothing_written({"--report": reports, "--save": saved})
        with out.steps() as progress:
            progress("loading")
            from ssn_prune import conversion
            from ssn_prune.checkpoint.loading import load_checkpoint
            from ssn_prune.checkpoint.ordinary import as_switchable
            from ssn_prune.files import require_writable, resolved
            from ssn_prune.json_values import to_json
            from ssn_prune.reporting.run import document_of
            from ssn_prune.searching.latencies import require_norm_free
            from ssn_prune.searching.results import SearchOptions
            from ssn_prune.selection import select

            if not dry_run:
                for entry in (path, *([] if saved is None else [saved])):
                    require_writable(resolved(entry), force=force)
            require_reports(reports, force=force)
            options = SearchOptions(
                budget=budget,
                max_drop=max_drop,
                finetune_steps=finetune_steps,
                search_images=search_images,
                points=points,
                memory=round(memory * 2**30),
                threads=threads,
                batch=batch,
                runs=runs,
                seed=seed,
            )
            loaded = load_checkpoint(
                checkpoint,
                arch=arch,
                arch_args=arguments,
                prefix=prefix,
                weights=weights,
                input_size=size,
                correction=correction,
            )
            request = Request(
                data=data,
                test_data=test_data,
                costs=costs,
                search=options,
                conversion=conversion.ConvertOptions(
                    target=target.value,
                    dynamic=None if dynamic is None else dynamic.value,
                    static_batch=static_batch,
                    mean=parse_numbers("--mean", mean),
                    std=parse_numbers("--std", std),
                    resize=resize,
                    trust_running_statistics=trust_running_statistics,
                    allow_unverified_layers=allow_unverified_layers,
                    every_layer=json or bool(reports),
                ),
                journal=journal,
            )
            if dry_run:
                loaded = as_switchable(loaded)
                found = potential_costs(loaded, request, progress)
                require_norm_free(found, loaded, request.conversion)
            else:
                with failures_reported(reports if first else [], typed_command(context)):
                    done = run_search(loaded, request, path, saved, progress, force=force)
        if dry_run:
            show_potential(out, select(loaded.model), found)
            if json:
                out.json(to_json(found))
            return
        if not first or done.report is None:
            return
        result = replace(done.report, command=typed_command(context))
        document = document_of(result, search=done.search)
        write_reports(document, reports, written=path)
        if done.journal is not None:
            done.journal.unlink(missing_ok=True)
        if json:
            out.json(document)
        show_search(out, done.search, every=all_layers)
        show_conversion(out, result, every=all_layers)
        for line in deployment_lines(result):
            out.message(line)
        for entry in (path, *([] if saved is None else [saved]), *reports):
            out.message(f"[bold]wrote {escape(entry)}[/]")
        if done.search.is_refuted:
            raise typer.Exit(VERIFICATION)
