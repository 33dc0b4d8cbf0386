"""``ssn-prune bench``: export the checkpoints first, then measure all files in one run."""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from ssn_prune.cli.options import (
    AllowUnverified,
    Arch,
    ArchArgs,
    Correction,
    Debug,
    InputSize,
    Json,
    OnUnconverged,
    Prefix,
    Provider,
    Quiet,
    Target,
    Targets,
    Timeout,
    TrustPt2,
    TrustStatistics,
    Unconverged,
    WeightsEntry,
)
from ssn_prune.cli.parsing import parse_arguments, parse_size
from ssn_prune.cli.runner import exit_on_error
from ssn_prune.console import Output, bench_lines, bench_table, layer_cost_table

if TYPE_CHECKING:
    from ssn_prune.benchmarking.records import BenchOptions, BenchReport
    from ssn_prune.conversion import ConvertOptions
    from ssn_prune.progress import Progress
    from ssn_prune.runtime.trust import Trust


def bench(
    files: Annotated[
        list[Path],
        typer.Argument(metavar="CKPT|FILE...", help="Checkpoints, .onnx or .pt2 files."),
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
    provider: Provider = "cpu",
    runs: Annotated[int, typer.Option(min=2, help="Timed runs of each network.")] = 40,
    static: Annotated[
        bool, typer.Option("--static", help="Convert checkpoints with a fixed batch size.")
    ] = False,
    target: Target = Targets.portable,
    profile: Annotated[bool, typer.Option(help="Show what each normalizer costs.")] = True,
    trust_running_statistics: TrustStatistics = False,
    allow_unverified_layers: AllowUnverified = False,
    timeout: Timeout = 600,
    trust_pt2: TrustPt2 = False,
    from_report: Annotated[
        list[Path] | None,
        typer.Option(
            metavar="JSON",
            help="Open the .pt2 file that this conversion report describes. Repeatable.",
        ),
    ] = None,
    json: Json = False,
    quiet: Quiet = False,
    debug: Debug = False,
) -> None:
    """Time networks side by side: files, or a checkpoint's original, pruned and norm-free one."""
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
            from ssn_prune.conversion import ConvertOptions
            from ssn_prune.json_values import to_json
            from ssn_prune.runtime.providers import provider_named
            from ssn_prune.runtime.trust import trust_of

            converting = ConvertOptions(
                on_unconverged=on_unconverged.value,
                algebra=False,
                rounding=False,
                target=target.value,
                static_batch=batch if static else None,
                trust_running_statistics=trust_running_statistics,
                allow_unverified_layers=allow_unverified_layers,
            )
            options = BenchOptions(
                threads=threads,
                batch=batch,
                runs=runs,
                profile=profile,
                provider=provider_named(provider),  # before anything is converted
                timeout=timeout,
            )
            trust = trust_of(trust_pt2=trust_pt2, reports=from_report or ())
            report = _measure(files, load, converting, options, trust, step)
        if json:
            out.json(to_json(report))
        out.table(bench_table(report))
        if report.layers:
            out.table(layer_cost_table(report))
        for line in bench_lines(report):
            out.message(line)


def _measure(
    paths: Sequence[Path],
    load: dict[str, Any],
    convert: ConvertOptions,
    options: BenchOptions,
    trust: Trust,
    step: Progress,
) -> BenchReport:
    """Measure exported files and checkpoints.

    Args:
        paths: Files; those without the suffix of an export format are checkpoints.
        load: Keyword arguments of ``load_checkpoint``.
        convert: How to convert checkpoints.
        options: How to measure.
        trust: Which torch programs may be opened.
        step: Called with the name of each step before it starts.

    Raises:
        SsnPruneError: See its subclasses.
    """
    from ssn_prune.benchmarking.bench import bench
    from ssn_prune.benchmarking.networks import export_variants
    from ssn_prune.checkpoint.loading import load_checkpoint
    from ssn_prune.export_formats import EXPORT_FORMATS, require_trusted

    suffixes = {entry.suffix for entry in EXPORT_FORMATS}
    for path in paths:
        require_trusted(path, trust)
    files: dict[str, Path] = {}
    missing: dict[str, str] = {}
    with tempfile.TemporaryDirectory() as name:
        for index, path in enumerate(paths):
            label = path.name if path.name not in files else f"{path.name} ({index + 1})"
            if path.suffix.lower() in suffixes:
                files[label] = path
                continue
            step(f"converting {path.name}")
            loaded = load_checkpoint(path, **load)
            folder = Path(name) / str(index)
            folder.mkdir()
            variants, reasons = export_variants(loaded, convert, folder)
            prefix = "" if len(paths) == 1 else f"{label}: "
            files |= {f"{prefix}{kind}": file for kind, file in variants.items()}
            missing |= {f"{prefix}{kind}": reason for kind, reason in reasons.items()}
        return bench(
            files,
            options,
            input_size=load["input_size"],
            missing=missing,
            trust=trust,
            progress=step,
        )
