"""The bench command: checkpoints become files first, then all files are measured in one run."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from ssn_prune.benchmarking.records import BenchOptions, BenchReport
    from ssn_prune.conversion import ConvertOptions

ONNX_SUFFIX = ".onnx"


def run_bench(
    paths: Sequence[Path],
    load: dict[str, Any],
    convert: ConvertOptions,
    options: BenchOptions,
    step: Callable[[str], None],
) -> BenchReport:
    """Measure ONNX files and checkpoints.

    Args:
        paths: Files; those that do not end in .onnx are checkpoints.
        load: Keyword arguments of ``load_checkpoint``.
        convert: How to convert checkpoints.
        options: How to measure.
        step: Called with the name of each step before it starts.

    Raises:
        SsnPruneError: See its subclasses.
    """
    from ssn_prune.benchmarking.bench import bench
    from ssn_prune.benchmarking.networks import export_variants
    from ssn_prune.checkpoint.loading import load_checkpoint

    files: dict[str, Path] = {}
    missing: dict[str, str] = {}
    given = load["input_size"]
    sizes = [] if given is None else [given] if isinstance(given[0], int) else list(given)
    with tempfile.TemporaryDirectory() as name:
        for index, path in enumerate(paths):
            label = path.name if path.name not in files else f"{path.name} ({index + 1})"
            if path.suffix == ONNX_SUFFIX:
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
        return bench(files, options, sizes=sizes, missing=missing, progress=step)
