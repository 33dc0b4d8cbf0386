"""``ssn-prune verify``: the checks of a conversion for a file that exists."""

from __future__ import annotations

from pathlib import Path
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
    InputSize,
    Json,
    OnUnconverged,
    Prefix,
    Provider,
    Quiet,
    Timeout,
    TrustPt2,
    TrustStatistics,
    Unconverged,
    VerifyOption,
    WeightsEntry,
)
from ssn_prune.cli.parsing import parse_arguments, parse_size
from ssn_prune.cli.runner import exit_on_error
from ssn_prune.cli.targets import require_in_order, write_report
from ssn_prune.console import Output, verification_lines


def verify(
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
        int | None, typer.Option(min=1, help="Batch size of a file with a fixed one.")
    ] = None,
    checks: VerifyOption = Checks.all,
    provider: Provider = "cpu",
    runtimes: Annotated[
        list[str] | None,
        typer.Option(
            "--with",
            metavar="RUNTIME",
            help="Another runtime to run the file in, such as openvino; may be repeated. A wrong "
            "name lists all.",
        ),
    ] = None,
    trust_running_statistics: TrustStatistics = False,
    allow_unverified_layers: AllowUnverified = False,
    timeout: Timeout = 600,
    trust_pt2: TrustPt2 = False,
    from_report: Annotated[
        Path | None,
        typer.Option(
            metavar="JSON", help="Report of the conversion that wrote a .pt2 file: opens that one."
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
        with out.steps() as step:
            step("loading")
            require_in_order(ckpt, onnx)
            from ssn_prune import conversion
            from ssn_prune.checkpoint.loading import load_checkpoint

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
            )
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
        write_report(out, result, None)
        if result.verification is not None:
            for line in verification_lines(result.verification):
                out.message(line)
