"""``ssn-prune convert``: a checkpoint becomes a verified file."""

from __future__ import annotations

from dataclasses import replace
from typing import Annotated

import typer

from ssn_prune.cli.batch import convert_all, is_batch
from ssn_prune.cli.command_line import typed_command
from ssn_prune.cli.dry_run import require_nothing_written, show_dry_run
from ssn_prune.cli.images import compared, data_files, opened_images, require_data, still_written
from ssn_prune.cli.measuring import measured, require_measurable
from ssn_prune.cli.options import (
    AllLayers,
    AllowUnverified,
    Arch,
    ArchArgs,
    Checks,
    Correction,
    Data,
    DataLimit,
    Debug,
    Dynamic,
    Formats,
    History,
    InputSize,
    Json,
    Mean,
    OnUnconverged,
    Prefix,
    Quiet,
    Resize,
    Std,
    Target,
    Targets,
    TrustStatistics,
    Unconverged,
    VerifyOption,
    WeightsEntry,
)
from ssn_prune.cli.parsing import parse_arguments, parse_names, parse_numbers, parse_size
from ssn_prune.cli.reports import (
    Reports,
    failures_reported,
    report_paths,
    require_reports,
    write_reports,
)
from ssn_prune.cli.runner import exit_on_error
from ssn_prune.cli.targets import checkpoint_path, default_target, file_path, require_distinct
from ssn_prune.cli.traces import traces_of
from ssn_prune.console import (
    Output,
    bench_table,
    deployment_lines,
    escape,
    show_accuracy,
    show_conversion,
)


def convert(
    context: typer.Context,
    ckpts: Annotated[
        list[str],
        typer.Argument(
            metavar="CKPT",
            help="Checkpoint from torch.save, or safetensors. Several, or a folder of them, are "
            "converted in separate processes.",
        ),
    ],
    output: Annotated[
        str | None,
        typer.Option(
            "--output",
            "-o",
            help="File to write (default: CKPT with .onnx or .pt2); for several checkpoints, a "
            "folder.",
        ),
    ] = None,
    format: Annotated[
        Formats | None,
        typer.Option(help="ONNX or a torch program (default: by the suffix of the output)."),
    ] = None,
    arch: Arch = None,
    arch_args: ArchArgs = None,
    prefix: Prefix = None,
    weights: WeightsEntry = None,
    input_size: InputSize = None,
    correction: Correction = None,
    on_unconverged: OnUnconverged = Unconverged.error,
    target: Target = Targets.portable,
    dynamic: Dynamic = None,
    static_batch: Annotated[
        int | None, typer.Option(min=1, help="Fix the batch size; implies --dynamic none.")
    ] = None,
    opset: Annotated[
        int, typer.Option(help="ONNX opset: 13 to 21, for detection models up to 20.")
    ] = 18,
    ir_version: Annotated[
        int | None,
        typer.Option(help="ONNX IR version (default: the one that belongs to the opset)."),
    ] = None,
    input_names: Annotated[
        str | None,
        typer.Option(metavar="A,B", help="Names of the file's inputs (default: input, ...)."),
    ] = None,
    output_names: Annotated[
        str | None,
        typer.Option(metavar="A,B", help="Names of the file's outputs (default: output, ...)."),
    ] = None,
    fold: Annotated[bool, typer.Option(help="Fold into convolutions and linear layers.")] = True,
    data: Data = None,
    data_limit: DataLimit = None,
    mean: Mean = None,
    std: Std = None,
    resize: Resize = None,
    embed_preprocessing: Annotated[
        bool,
        typer.Option(
            "--embed-preprocessing",
            help="Make --mean and --std part of the file, which then takes uint8 pixels.",
        ),
    ] = False,
    preprocessing: Annotated[
        str | None, typer.Option(help="Other notes on the input, stored in the file.")
    ] = None,
    save_weights: Annotated[
        str | None,
        typer.Option(
            help="Also save the pruned weights as safetensors, for ssn_prune.load_pruned."
        ),
    ] = None,
    report: Reports = None,
    history: History = None,
    bench: Annotated[
        bool, typer.Option("--bench", help="Also measure the speed, for the report.")
    ] = False,
    verify: VerifyOption = Checks.all,
    trust_running_statistics: TrustStatistics = False,
    allow_unverified_layers: AllowUnverified = False,
    dry_run: Annotated[
        bool,
        typer.Option(
            "--dry-run", help="Show the plan and what the file would contain; write nothing."
        ),
    ] = False,
    recursive: Annotated[
        bool, typer.Option("--recursive", "-r", help="Also convert checkpoints in subfolders.")
    ] = False,
    jobs: Annotated[
        int, typer.Option("--jobs", "-j", min=1, help="Checkpoints converted at a time.")
    ] = 1,
    summary: Annotated[
        str | None,
        typer.Option(metavar="FILE.csv", help="Also write a table with a row per checkpoint."),
    ] = None,
    force: Annotated[
        bool, typer.Option("--force", "-f", help="Replace an existing output.")
    ] = False,
    all_layers: AllLayers = False,
    json: Json = False,
    quiet: Quiet = False,
    debug: Debug = False,
) -> None:
    """Convert a trained checkpoint to a lean ONNX file or torch program, verify it, and report."""
    out = Output(as_json=json, quiet=quiet)
    with exit_on_error(out, debug):
        paths = [checkpoint_path(text) for text in ckpts]
    if is_batch(paths, summary):
        convert_all(
            context,
            out,
            paths,
            output=output,
            reports=report or (),
            recursive=recursive,
            jobs=jobs,
            summary=summary,
            force=force,
            debug=debug,
        )
        return
    (ckpt,) = paths
    with exit_on_error(out, debug):
        arguments = parse_arguments(arch_args)
        size = parse_size(input_size)
        require_data(data, data_limit)
        path = default_target(ckpt, format) if output is None else file_path("--output", output)
        reports = report_paths("--report", report)
        weights_path = None if save_weights is None else file_path("--save-weights", save_weights)
        outputs = [("--output", path), *(("--report", entry) for entry in reports)]
        if weights_path is not None:
            outputs.append(("--save-weights", weights_path))
        require_distinct({"the checkpoint": ckpt, **data_files({"--data": data})}, outputs)
        if dry_run:
            given = {"--report": reports, "--save-weights": weights_path}
            require_nothing_written({**given, "--bench": bench, "--data": data})
        if bench:
            require_measurable(path)
        with out.steps() as progress:
            from ssn_prune.progress import StepTimes

            step = StepTimes(progress)
            step("loading")
            from ssn_prune import conversion
            from ssn_prune.checkpoint.loading import load_checkpoint
            from ssn_prune.files import require_writable, resolved
            from ssn_prune.reporting.run import document_of
            from ssn_prune.selection import select

            if not dry_run:
                require_writable(resolved(path), force=force)
            if weights_path is not None:
                require_writable(resolved(weights_path), force=force)
            require_reports(reports, force=force)
            loaded = load_checkpoint(
                ckpt,
                arch=arch,
                arch_args=arguments,
                prefix=prefix,
                weights=weights,
                input_size=size,
                correction=correction,
            )
            traces = None if history is None else traces_of(history, select(loaded.model))
            options = conversion.ConvertOptions(
                on_unconverged=on_unconverged.value,
                fold=fold,
                algebra=verify in (Checks.all, Checks.algebra),
                rounding=verify in (Checks.all, Checks.rounding),
                target=target.value,
                dynamic=None if dynamic is None else dynamic.value,
                static_batch=static_batch,
                opset=opset,
                ir_version=ir_version,
                input_names=parse_names(input_names),
                output_names=parse_names(output_names),
                mean=parse_numbers("--mean", mean),
                std=parse_numbers("--std", std),
                resize=resize,
                embed_preprocessing=embed_preprocessing,
                preprocessing=preprocessing,
                trust_running_statistics=trust_running_statistics,
                allow_unverified_layers=allow_unverified_layers,
                format=None if format is None else format.value,
                every_layer=json or bool(reports),
            )
            images = opened_images(loaded, data, options)
            command = typed_command(context)
            speed, accuracy = None, None
            if dry_run:
                result = conversion.dry_run(loaded, options, progress=step)
            else:
                with failures_reported(reports, command):
                    result = conversion.convert(
                        loaded, path, options, force=force, save_weights=weights_path, progress=step
                    )
                with still_written(path):
                    accuracy = compared(loaded, path, images, data_limit, step, trust_pt2=True)
                speed = measured(loaded, path, options, size, step) if bench else None
            result = replace(result, command=command, steps=step.until_now())
        if dry_run:
            show_dry_run(out, result, all_layers, path)
            return
        document = document_of(result, speed, traces, accuracy)
        write_reports(document, reports, written=path)
        if json:
            out.json(document)
        show_conversion(out, result, every=all_layers)
        if accuracy is not None:
            show_accuracy(out, accuracy, None)  # the last lines say how images become inputs
        if speed is not None:
            out.table(bench_table(speed))
        for line in deployment_lines(result):
            out.message(line)
        written = [path, *reports] if weights_path is None else [path, weights_path, *reports]
        for entry in written:
            out.message(f"[bold]wrote {escape(entry)}[/]")
