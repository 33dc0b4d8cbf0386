"""``ssn-prune verify``: run the checks of a conversion on an existing file."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Annotated

import typer

from ssn_prune.cli.command_line import typed_command
from ssn_prune.cli.images import compared, data_files, opened_images, require_data
from ssn_prune.cli.options import (
    AllowUnverified,
    Arch,
    ArchArgs,
    Checkpoint,
    Checks,
    Correction,
    Data,
    DataLimit,
    Debug,
    Dynamic,
    InputSize,
    Json,
    Mean,
    OnUnconverged,
    Prefix,
    Provider,
    Quiet,
    Resize,
    Std,
    Timeout,
    TrustPt2,
    TrustStatistics,
    Unconverged,
    VerifyOption,
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
from ssn_prune.cli.targets import require_distinct, require_in_order
from ssn_prune.console import Output, show_accuracy, verification_lines


def verify(
    context: typer.Context,
    ckpt: Checkpoint,
    onnx: Annotated[Path, typer.Argument(metavar="FILE", help="The file to check: .onnx or .pt2.")],
    arch: Arch = None,
    arch_args: ArchArgs = None,
    prefix: Prefix = None,
    weights: WeightsEntry = None,
    input_size: InputSize = None,
    correction: Correction = None,
    on_unconverged: OnUnconverged = Unconverged.error,
    dynamic: Dynamic = None,
    static_batch: Annotated[
        int | None, typer.Option(min=1, help="The batch size, if it is fixed in the file.")
    ] = None,
    checks: VerifyOption = Checks.all,
    provider: Provider = "cpu",
    runtimes: Annotated[
        list[str] | None,
        typer.Option(
            "--with",
            metavar="RUNTIME",
            help="Another runtime to run the file in, such as openvino; may be repeated. An "
            "unknown name lists them all.",
        ),
    ] = None,
    data: Data = None,
    data_limit: DataLimit = None,
    mean: Mean = None,
    std: Std = None,
    resize: Resize = None,
    report: Reports = None,
    force: Annotated[
        bool, typer.Option("--force", "-f", help="Replace an existing report.")
    ] = False,
    trust_running_statistics: TrustStatistics = False,
    allow_unverified_layers: AllowUnverified = False,
    timeout: Timeout = 600,
    trust_pt2: TrustPt2 = False,
    from_report: Annotated[
        Path | None,
        typer.Option(
            metavar="JSON", help="Open the .pt2 file that this conversion report describes."
        ),
    ] = None,
    json: Json = False,
    quiet: Quiet = False,
    debug: Debug = False,
) -> None:
    """Check an exported file against the checkpoint that it was made from."""
    out = Output(as_json=json, quiet=quiet)
    with exit_on_error(out, debug):
        arguments = parse_arguments(arch_args)
        size = parse_size(input_size)
        require_data(data, data_limit)
        reports = report_paths("--report", report)
        inputs = {"the checkpoint": ckpt, "the exported file": onnx}
        inputs |= data_files({"--data": data})
        inputs |= {} if from_report is None else {"--from-report": from_report}
        require_distinct(inputs, [("--report", entry) for entry in reports])
        with out.steps() as progress:
            from ssn_prune.progress import StepTimes

            step = StepTimes(progress)
            step("loading")
            require_in_order(ckpt, onnx)
            from ssn_prune import conversion
            from ssn_prune.checkpoint.loading import load_checkpoint
            from ssn_prune.reporting.run import document_of

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
            options = conversion.ConvertOptions(
                on_unconverged=on_unconverged.value,
                algebra=checks in (Checks.all, Checks.algebra),
                rounding=checks in (Checks.all, Checks.rounding),
                dynamic=None if dynamic is None else dynamic.value,
                static_batch=static_batch,
                trust_running_statistics=trust_running_statistics,
                allow_unverified_layers=allow_unverified_layers,
                every_layer=json or bool(reports),
                mean=parse_numbers("--mean", mean),
                std=parse_numbers("--std", std),
                resize=resize,
            )
            images = opened_images(loaded, data, options, file=onnx, timeout=timeout)
            command = typed_command(context)
            with failures_reported(reports, command):
                result = conversion.verify_file(
                    loaded,
                    onnx,
                    options,
                    step,
                    timeout,
                    provider=provider,
                    runtimes=runtimes or (),
                    trust_pt2=trust_pt2,
                    from_report=from_report,
                )
            how = {"timeout": timeout, "provider": provider}
            trust = {"trust_pt2": trust_pt2, "from_report": from_report}
            accuracy = compared(loaded, onnx, images, data_limit, step, **how, **trust)
        if images is not None and images.preprocessing is not None:
            result = replace(result, preprocessing=images.preprocessing)
        result = replace(result, command=command, steps=step.until_now())
        document = document_of(result, accuracy=accuracy)
        write_reports(document, reports)
        if json:
            out.json(document)
        if result.verification is not None:
            for line in verification_lines(result.verification):
                out.message(line)
        if accuracy is not None:
            show_accuracy(out, accuracy, result.preprocessing)
