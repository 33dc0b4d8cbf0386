"""``ssn-prune convert``: a checkpoint becomes a verified ONNX file."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from ssn_prune.cli.batch import convert_all, is_batch
from ssn_prune.cli.command_line import typed_command
from ssn_prune.cli.options import (
    AllLayers,
    AllowUnverified,
    Arch,
    ArchArgs,
    Checks,
    Correction,
    Debug,
    Dynamic,
    History,
    InputSize,
    Json,
    OnUnconverged,
    Prefix,
    Quiet,
    Target,
    Targets,
    TrustStatistics,
    Unconverged,
    VerifyOption,
    WeightsEntry,
)
from ssn_prune.cli.parsing import parse_arguments, parse_names, parse_size
from ssn_prune.cli.reports import (
    Reports,
    failures_reported,
    report_paths,
    require_reports,
    write_reports,
)
from ssn_prune.cli.runner import exit_on_error
from ssn_prune.cli.targets import default_target, file_path, require_distinct
from ssn_prune.cli.traces import traces_of
from ssn_prune.console import (
    Output,
    bench_table,
    capture_lines,
    deployment_lines,
    escape,
    misread_lines,
    one_position_lines,
    rounded_line,
    show_selection,
    totals_table,
    verification_lines,
)

if TYPE_CHECKING:
    from ssn_prune.benchmarking.records import BenchReport
    from ssn_prune.checkpoint.loading import LoadedCheckpoint
    from ssn_prune.conversion import ConvertOptions
    from ssn_prune.progress import Progress

InputSizes = tuple[int, ...] | tuple[tuple[int, ...], ...] | None


def convert(
    context: typer.Context,
    ckpts: Annotated[
        list[Path],
        typer.Argument(
            metavar="CKPT...",
            help="Checkpoint of torch.save, or safetensors; several, or a folder, are converted in "
            "processes of their own.",
        ),
    ],
    output: Annotated[
        str | None,
        typer.Option(
            "--output",
            "-o",
            help="ONNX file to write (default: CKPT with .onnx); for several checkpoints a folder.",
        ),
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
        int, typer.Option(help="ONNX operator set: 13 to 21; detection models to 20.")
    ] = 18,
    ir_version: Annotated[
        int | None,
        typer.Option(help="ONNX file format version (default: that of the operator set)."),
    ] = None,
    input_names: Annotated[
        str | None,
        typer.Option(metavar="A,B", help="Names of the file's inputs (default: input, ...)."),
    ] = None,
    output_names: Annotated[
        str | None,
        typer.Option(metavar="A,B", help="Names of the file's outputs (default: output, ...)."),
    ] = None,
    fold: Annotated[bool, typer.Option(help="Fold into convolutions.")] = True,
    preprocessing: Annotated[
        str | None, typer.Option(help="Notes on the input's preprocessing, stored in the file.")
    ] = None,
    report: Reports = None,
    history: History = None,
    bench: Annotated[
        bool, typer.Option("--bench", help="Also measure the speed, for the report.")
    ] = False,
    verify: VerifyOption = Checks.all,
    trust_running_statistics: TrustStatistics = False,
    allow_unverified_layers: AllowUnverified = False,
    recursive: Annotated[
        bool, typer.Option("--recursive", "-r", help="Of a folder: subfolders, too.")
    ] = False,
    jobs: Annotated[int, typer.Option("--jobs", "-j", min=1, help="Checkpoints at a time.")] = 1,
    summary: Annotated[
        str | None, typer.Option(metavar="FILE.csv", help="Also write a row a checkpoint.")
    ] = None,
    force: Annotated[
        bool, typer.Option("--force", "-f", help="Replace an existing output.")
    ] = False,
    all_layers: AllLayers = False,
    json: Json = False,
    quiet: Quiet = False,
    debug: Debug = False,
) -> None:
    """Convert a trained checkpoint to a lean ONNX file, verify it, and report."""
    out = Output(as_json=json, quiet=quiet)
    if is_batch(ckpts, summary):
        convert_all(
            context,
            out,
            ckpts,
            output=output,
            reports=report or (),
            recursive=recursive,
            jobs=jobs,
            summary=summary,
            force=force,
            debug=debug,
        )
        return
    (ckpt,) = ckpts
    with exit_on_error(out, debug):
        arguments = parse_arguments(arch_args)
        size = parse_size(input_size)
        path = default_target(ckpt) if output is None else file_path("--output", output)
        reports = report_paths("--report", report)
        outputs = [("--output", path), *(("--report", entry) for entry in reports)]
        require_distinct({"the checkpoint": ckpt}, outputs)
        with out.steps() as progress:
            from ssn_prune.progress import StepTimes

            step = StepTimes(progress)
            step("loading")
            from ssn_prune import conversion
            from ssn_prune.checkpoint.loading import load_checkpoint
            from ssn_prune.files import require_writable, resolved
            from ssn_prune.reporting.run import document_of

            require_writable(resolved(path), force=force)
            require_reports(reports, force=force)
            traces = None if history is None else traces_of(history)
            loaded = load_checkpoint(
                ckpt,
                arch=arch,
                arch_args=arguments,
                prefix=prefix,
                weights=weights,
                input_size=size,
                correction=correction,
            )
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
                preprocessing=preprocessing,
                trust_running_statistics=trust_running_statistics,
                allow_unverified_layers=allow_unverified_layers,
                every_layer=json or bool(reports),
            )
            command = typed_command(context)
            with failures_reported(reports, command):
                result = conversion.convert(loaded, path, options, force=force, progress=step)
            speed = measured(loaded, path, options, size, step) if bench else None
            result = replace(result, command=command, steps=step.until_now())
        document = document_of(result, speed, traces)
        write_reports(document, reports, written=path)
        if json:
            out.json(document)
        title = f"{loaded.source.arch}: selection and folds"
        show_selection(out, result, title, every=all_layers)
        out.table(totals_table(result))
        notes = (capture_lines, misread_lines, one_position_lines)
        for line in [line for lines_of in notes for line in lines_of(result)]:
            out.message(line)
        if result.rounded is not None:
            out.message(rounded_line(result.rounded))
        if result.verification is not None:
            for line in verification_lines(result.verification):
                out.message(line)
        if speed is not None:
            out.table(bench_table(speed))
        for line in deployment_lines(result):
            out.message(line)
        for entry in (path, *reports):
            out.message(f"[bold]wrote {escape(entry)}[/]")


def measured(
    loaded: LoadedCheckpoint,
    path: Path,
    options: ConvertOptions,
    size: InputSizes,
    step: Progress,
) -> BenchReport:
    """Time the file that was written beside the original and the network without norms."""
    import tempfile

    from ssn_prune.benchmarking.bench import bench
    from ssn_prune.benchmarking.networks import export_variants
    from ssn_prune.benchmarking.records import BenchOptions

    step("exporting the networks to compare with")
    with tempfile.TemporaryDirectory() as folder:
        files, missing = export_variants(loaded, options, Path(folder), pruned=path)
        how = BenchOptions(batch=options.fixed_batch or 1)
        return bench(files, how, input_size=size, missing=missing, progress=step)
