"""``ssn-prune convert``: a checkpoint becomes a verified file."""

from __future__ import annotations

from typing import Annotated

import typer

from ssn_prune.cli.options import (
    AllowUnverified,
    Arch,
    ArchArgs,
    Checkpoint,
    Checks,
    Correction,
    Debug,
    Dynamic,
    Formats,
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
from ssn_prune.cli.parsing import parse_arguments, parse_size
from ssn_prune.cli.runner import exit_on_error
from ssn_prune.cli.targets import default_target, file_path, require_distinct, write_report
from ssn_prune.console import (
    Output,
    capture_lines,
    escape,
    misread_lines,
    one_position_lines,
    rounded_line,
    selection_table,
    totals_table,
    verification_lines,
)


def convert(
    ckpt: Checkpoint,
    output: Annotated[
        str | None,
        typer.Option("--output", "-o", help="File to write (default: CKPT with .onnx or .pt2)."),
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
        int, typer.Option(help="ONNX operator set: 13 to 21; detection models to 20.")
    ] = 18,
    ir_version: Annotated[
        int | None,
        typer.Option(help="ONNX file format version (default: that of the operator set)."),
    ] = None,
    fold: Annotated[bool, typer.Option(help="Fold into convolutions.")] = True,
    preprocessing: Annotated[
        str | None, typer.Option(help="Notes on the input's preprocessing, stored in the file.")
    ] = None,
    save_weights: Annotated[
        str | None,
        typer.Option(
            help="Also save the pruned weights, as safetensors that ssn_prune.load_pruned reads."
        ),
    ] = None,
    report: Annotated[str | None, typer.Option(help="Also write the report as JSON.")] = None,
    verify: VerifyOption = Checks.all,
    trust_running_statistics: TrustStatistics = False,
    allow_unverified_layers: AllowUnverified = False,
    force: Annotated[
        bool, typer.Option("--force", "-f", help="Replace an existing output.")
    ] = False,
    json: Json = False,
    quiet: Quiet = False,
    debug: Debug = False,
) -> None:
    """Convert a trained checkpoint to a lean file, in ONNX or for torch; verify it, and report."""
    out = Output(as_json=json, quiet=quiet)
    with exit_on_error(out, debug):
        arguments = parse_arguments(arch_args)
        size = parse_size(input_size)
        path = default_target(ckpt, format) if output is None else file_path("--output", output)
        report_path = None if report is None else file_path("--report", report)
        weights_path = None if save_weights is None else file_path("--save-weights", save_weights)
        require_distinct(ckpt, path, report_path, weights_path)
        with out.steps() as step:
            step("loading")
            from ssn_prune import conversion
            from ssn_prune.checkpoint.loading import load_checkpoint
            from ssn_prune.files import require_writable, resolved

            require_writable(resolved(path), force=force)
            for other in (report_path, weights_path):
                if other is not None:
                    require_writable(resolved(other), force=force)
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
                preprocessing=preprocessing,
                trust_running_statistics=trust_running_statistics,
                allow_unverified_layers=allow_unverified_layers,
                format=None if format is None else format.value,
            )
            result = conversion.convert(
                loaded, path, options, force=force, save_weights=weights_path, progress=step
            )
        write_report(out, result, report_path, written=path)
        out.table(selection_table(result.layers, f"{loaded.source.arch}: selection and folds"))
        out.table(totals_table(result))
        notes = (capture_lines, misread_lines, one_position_lines)
        for line in [line for lines_of in notes for line in lines_of(result)]:
            out.message(line)
        if result.rounded is not None:
            out.message(rounded_line(result.rounded))
        if result.verification is not None:
            for line in verification_lines(result.verification):
                out.message(line)
        out.message(f"[bold]wrote {escape(path)}[/]")
        if weights_path is not None:
            out.message(f"[bold]wrote {escape(weights_path)}[/]")
