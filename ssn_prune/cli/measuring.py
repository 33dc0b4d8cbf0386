"""The speed of a file that was just written, for its report."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

from ssn_prune.errors import ArgumentError

if TYPE_CHECKING:
    from ssn_prune.benchmarking.records import BenchReport
    from ssn_prune.checkpoint.loading import LoadedCheckpoint
    from ssn_prune.conversion import ConvertOptions
    from ssn_prune.progress import Progress

InputSizes = tuple[int, ...] | tuple[tuple[int, ...], ...] | None


def require_measurable(path: Path) -> None:
    """Refuse to compare another format with the ONNX files of the original.

    Raises:
        ArgumentError: The file is not an ONNX file.
    """
    if path.suffix.lower() == ".pt2":
        raise ArgumentError(
            "--bench measures ONNX files",
            expected="an ONNX file",
            found=str(path),
            hint="leave --bench out",
        )


def measured(
    loaded: LoadedCheckpoint,
    path: Path,
    options: ConvertOptions,
    size: InputSizes,
    step: Progress,
) -> BenchReport:
    """Time the written file, the original and the network without norms, in interleaved runs."""
    from ssn_prune.benchmarking.bench import bench
    from ssn_prune.benchmarking.networks import export_variants
    from ssn_prune.benchmarking.records import BenchOptions

    step("exporting the networks to compare with")
    with tempfile.TemporaryDirectory() as folder:
        files, missing = export_variants(loaded, options, Path(folder), pruned=path)
        how = BenchOptions(batch=options.fixed_batch or 1)
        return bench(files, how, input_size=size, missing=missing, progress=step)
