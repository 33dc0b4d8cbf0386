"""The commands. Heavy imports happen inside them, so that ``--help`` answers at once."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from ssn_prune._version import __version__
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
    OpenAxes,
    Prefix,
    Quiet,
    TrustStatistics,
    Unconverged,
    VerifyOption,
    WeightsEntry,
)
from ssn_prune.cli.runner import (
    default_target,
    exit_on_error,
    parse_arguments,
    parse_size,
    require_distinct,
    write_report,
)
from ssn_prune.console import (
    Output,
    bench_lines,
    bench_table,
    capture_lines,
    history_table,
    layer_cost_table,
    rounded_line,
    selection_table,
    totals_table,
    unconverged_table,
    verification_lines,
)

if TYPE_CHECKING:
    from ssn_prune.training.gate_traces import GateTrace

app = typer.Typer(
    help="Turn a network trained with Sparse Switchable Normalization into a lean, verified ONNX "
    "model.\n\nExit codes: 0 ok, 1 failure, 2 usage, 3 verification failed, 4 unfinished gates.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)


@app.command()
def convert(
    ckpt: Checkpoint,
    output: Annotated[
        Path | None,
        typer.Option("--output", "-o", help="ONNX file to write (default: CKPT with .onnx)."),
    ] = None,
    arch: Arch = None,
    arch_args: ArchArgs = None,
    prefix: Prefix = None,
    weights: WeightsEntry = None,
    input_size: InputSize = None,
    correction: Correction = None,
    on_unconverged: OnUnconverged = Unconverged.error,
    dynamic: Dynamic = OpenAxes.batch,
    static_batch: Annotated[
        int | None, typer.Option(min=1, help="Fix the batch size; implies --dynamic none.")
    ] = None,
    opset: Annotated[int, typer.Option(min=18, help="ONNX operator set.")] = 18,
    ir_version: Annotated[int, typer.Option(min=8, help="ONNX file format version.")] = 10,
    fold: Annotated[bool, typer.Option(help="Fold into convolutions.")] = True,
    preprocessing: Annotated[
        str | None, typer.Option(help="Notes on the input's preprocessing, stored in the file.")
    ] = None,
    report: Annotated[Path | None, typer.Option(help="Also write the report as JSON.")] = None,
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
    """Convert a trained checkpoint to a lean ONNX file, verify it, and report."""
    out = Output(as_json=json, quiet=quiet)
    with exit_on_error(out, debug):
        arguments = parse_arguments(arch_args)
        size = parse_size(input_size)
        target = output or default_target(ckpt)
        require_distinct(ckpt, target, report)
        with out.steps() as step:
            step("loading")
            from ssn_prune import conversion
            from ssn_prune.checkpoint.loading import load_checkpoint
            from ssn_prune.files import require_writable

            require_writable(target, force=force)
            if report is not None:
                require_writable(report, force=force)
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
                dynamic=dynamic.value,
                static_batch=static_batch,
                opset=opset,
                ir_version=ir_version,
                preprocessing=preprocessing,
                trust_running_statistics=trust_running_statistics,
                allow_unverified_layers=allow_unverified_layers,
            )
            result = conversion.convert(loaded, target, options, force=force, progress=step)
        write_report(out, result, report)
        out.table(selection_table(result.layers, f"{loaded.source.arch}: selection and folds"))
        out.table(totals_table(result))
        for line in capture_lines(result):
            out.message(line)
        if result.rounded is not None:
            out.message(rounded_line(result.rounded))
        if result.verification is not None:
            for line in verification_lines(result.verification):
                out.message(line)
        out.message(f"[bold]wrote {target}[/]")


@app.command()
def inspect(
    ckpt: Checkpoint,
    prefix: Prefix = None,
    weights: WeightsEntry = None,
    history: Annotated[
        Path | None,
        typer.Option(help="Gate history of the training (GateRecords.save): plot it below."),
    ] = None,
    json: Json = False,
    quiet: Quiet = False,
    debug: Debug = False,
) -> None:
    """Show what every layer selected. Nothing is built, run or written."""
    out = Output(as_json=json, quiet=quiet)
    with exit_on_error(out, debug):
        with out.steps() as step:
            step("reading")
            from ssn_prune.checkpoint.loading import read_weights
            from ssn_prune.json_values import to_json
            from ssn_prune.pruning.results import selection_layers
            from ssn_prune.report import SCHEMA_VERSION, ConversionReport
            from ssn_prune.selection import select

            tensors, source = read_weights(ckpt, weights=weights, prefix=prefix)
            layers = selection_layers(select(tensors))
            traces: tuple[GateTrace, ...] = ()
            if history is not None:
                from ssn_prune.training.gate_traces import gate_traces
                from ssn_prune.training.history import GateRecords

                traces = gate_traces(GateRecords.load(history))
        if json:
            report = to_json(ConversionReport(SCHEMA_VERSION, __version__, source, layers))
            out.json(report | ({"history": to_json(traces)} if history is not None else {}))
        named = f" ({source.arch})" if source.arch else ""
        out.table(selection_table(layers, f"{source.file_name}{named}"))
        unfinished = sum(not layer.converged for layer in layers)
        if unfinished:
            out.table(unconverged_table(layers))
        mixed = sum(layer.mean.choice != layer.var.choice for layer in layers)
        out.message(
            f"{len(layers)} layers, {unfinished} with unfinished gates, "
            f"{mixed} with different normalizers for mean and variance"
        )
        if traces:
            out.table(history_table(traces))


@app.command()
def verify(
    ckpt: Checkpoint,
    onnx: Annotated[Path, typer.Argument(metavar="ONNX", help="The file to check.")],
    arch: Arch = None,
    arch_args: ArchArgs = None,
    prefix: Prefix = None,
    weights: WeightsEntry = None,
    input_size: InputSize = None,
    correction: Correction = None,
    on_unconverged: OnUnconverged = Unconverged.error,
    dynamic: Dynamic = OpenAxes.batch,
    static_batch: Annotated[
        int | None, typer.Option(min=1, help="Batch size of a file with a fixed one.")
    ] = None,
    checks: VerifyOption = Checks.all,
    trust_running_statistics: TrustStatistics = False,
    allow_unverified_layers: AllowUnverified = False,
    json: Json = False,
    quiet: Quiet = False,
    debug: Debug = False,
) -> None:
    """Check an ONNX file against the checkpoint that it was made from."""
    out = Output(as_json=json, quiet=quiet)
    with exit_on_error(out, debug):
        arguments = parse_arguments(arch_args)
        size = parse_size(input_size)
        with out.steps() as step:
            step("loading")
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
                dynamic=dynamic.value,
                static_batch=static_batch,
                trust_running_statistics=trust_running_statistics,
                allow_unverified_layers=allow_unverified_layers,
            )
            result = conversion.verify_file(loaded, onnx, options, step)
        write_report(out, result, None)
        if result.verification is not None:
            for line in verification_lines(result.verification):
                out.message(line)


@app.command()
def bench(
    files: Annotated[
        list[Path], typer.Argument(metavar="CKPT|ONNX...", help="Checkpoints and ONNX files.")
    ],
    arch: Arch = None,
    arch_args: ArchArgs = None,
    prefix: Prefix = None,
    weights: WeightsEntry = None,
    input_size: InputSize = None,
    correction: Correction = None,
    on_unconverged: OnUnconverged = Unconverged.error,
    batch: Annotated[int, typer.Option(min=1, help="Samples per run.")] = 1,
    threads: Annotated[int, typer.Option(min=1, help="Threads of ONNX Runtime.")] = 1,
    runs: Annotated[int, typer.Option(min=2, help="Timed runs of each network.")] = 40,
    static: Annotated[
        bool, typer.Option("--static", help="Convert checkpoints with a fixed batch size.")
    ] = False,
    profile: Annotated[bool, typer.Option(help="Show what each normalizer costs.")] = True,
    trust_running_statistics: TrustStatistics = False,
    allow_unverified_layers: AllowUnverified = False,
    json: Json = False,
    quiet: Quiet = False,
    debug: Debug = False,
) -> None:
    """Time networks side by side: of a checkpoint the original, the pruned and a norm-free one."""
    out = Output(as_json=json, quiet=quiet)
    with exit_on_error(out, debug):
        load = {
            "arch": arch,
            "arch_args": parse_arguments(arch_args),
            "prefix": prefix,
            "weights": weights,
            "input_size": parse_size(input_size),
            "correction": correction,
        }
        with out.steps() as step:
            step("loading")
            from ssn_prune.benchmarking.records import BenchOptions
            from ssn_prune.cli.bench import run_bench
            from ssn_prune.conversion import ConvertOptions
            from ssn_prune.json_values import to_json

            converting = ConvertOptions(
                on_unconverged=on_unconverged.value,
                algebra=False,
                rounding=False,
                static_batch=batch if static else None,
                trust_running_statistics=trust_running_statistics,
                allow_unverified_layers=allow_unverified_layers,
            )
            options = BenchOptions(threads=threads, batch=batch, runs=runs, profile=profile)
            report = run_bench(files, load, converting, options, step)
        if json:
            out.json(to_json(report))
        out.table(bench_table(report))
        if report.layers:
            out.table(layer_cost_table(report))
        for line in bench_lines(report):
            out.message(line)


@app.command()
def demo(
    folder: Annotated[Path, typer.Option("--output", "-o", help="Folder for the files.")] = Path(
        "ssn_prune_demo"
    ),
    epochs: Annotated[int, typer.Option(min=1, help="Passes over the training images.")] = 30,
    seed: Annotated[int, typer.Option(help="Seed of weights and batches.")] = 0,
    json: Json = False,
    quiet: Quiet = False,
    debug: Debug = False,
) -> None:
    """Train a small SSN network on digits, convert it, and compare, in about a minute."""
    out = Output(as_json=json, quiet=quiet)
    with exit_on_error(out, debug):
        from ssn_prune.cli.demo import run_demo

        run_demo(out, folder, epochs=epochs, seed=seed)


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


def main() -> None:
    """Entry point of the console script."""
    app()
