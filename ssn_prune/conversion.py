"""convert: checkpoint -> selection -> plan -> rewrite -> export -> verify -> report."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from torch.utils import _pytree as pytree

from ssn_prune._version import __version__
from ssn_prune.checkpoint.assemble import LoadedCheckpoint
from ssn_prune.checkpoint.running_sums import require_averages
from ssn_prune.errors import UsageError, first_line
from ssn_prune.files import replacing, require_writable, resolved
from ssn_prune.graph.forms import Form
from ssn_prune.graph.plan import Plan
from ssn_prune.layers.copying import copy_model
from ssn_prune.onnx_export.export import Dynamic, ExportOptions, write_onnx
from ssn_prune.onnx_export.open_sizes import accepted_sizes, fixed_size_error
from ssn_prune.pruning import OnUnconverged, PruneResult, prune
from ssn_prune.report import (
    SCHEMA_VERSION,
    ConversionReport,
    NetworkStats,
    VerificationReport,
    to_json,
)
from ssn_prune.tensors import clone_tensors
from ssn_prune.verification.verify import BATCH_SIZES, random_batches, require_passed, verify

Progress = Callable[[str], None]
OTHER_SIZES = 3
"""So many other spatial sizes are verified where these are open."""


@dataclass(frozen=True)
class ConvertOptions:
    """How to convert.

    Attributes:
        on_unconverged: What to do with unfinished gates; see :func:`ssn_prune.prune`.
        fold: Fold into convolutions and linear layers.
        algebra: Run the algebra check.
        rounding: Run the rounding check.
        dynamic: Which sizes stay open: ``"none"``, ``"batch"`` or ``"spatial"`` (both).
        static_batch: A fixed batch size, which implies ``dynamic="none"``; that alone means 1.
        opset: ONNX operator set.
        ir_version: ONNX file format version.
        preprocessing: Notes on the input's preprocessing, stored in the file.
        trust_running_statistics: Skip the test for running sums.
    """

    on_unconverged: OnUnconverged = "error"
    fold: bool = True
    algebra: bool = True
    rounding: bool = True
    dynamic: Dynamic = "batch"
    static_batch: int | None = None
    opset: int = ExportOptions.opset
    ir_version: int = ExportOptions.ir_version
    preprocessing: str | None = None
    trust_running_statistics: bool = False

    @property
    def open_axes(self) -> Dynamic:
        """What stays open after all.

        Raises:
            UsageError: A fixed batch size and open sizes are asked for together.
        """
        if self.static_batch is None:
            return self.dynamic
        if self.dynamic == "spatial":
            raise UsageError(
                "a fixed batch size and open spatial sizes exclude each other",
                expected="--static-batch or --dynamic spatial",
                found=f"--static-batch {self.static_batch} --dynamic spatial",
                hint="leave --static-batch out: a file with an open batch takes every batch size",
            )
        return "none"


def convert(
    loaded: LoadedCheckpoint,
    target: Path | str,
    options: ConvertOptions | None = None,
    *,
    force: bool = False,
    progress: Progress = lambda _step: None,
) -> ConversionReport:
    """Convert a loaded checkpoint to a verified ONNX file.

    Args:
        loaded: Result of :func:`ssn_prune.load_checkpoint`; not changed.
        target: The file to write. It is written only if every check passes, and appears complete.
        options: How to convert.
        force: Replace an existing file.
        progress: Called with the name of each step before it starts.

    Returns:
        The report.

    Raises:
        SsnPruneError: See its subclasses; nothing has been written then.
    """
    options = options or ConvertOptions()
    path = resolved(target)
    require_writable(path, force=force)
    require_input_size(loaded)
    open_axes = options.open_axes
    result = prune_loaded(loaded, options, progress)
    batches = verification_batches(result, loaded, options)
    export_options = ExportOptions(
        opset=options.opset,
        ir_version=options.ir_version,
        dynamic=open_axes,
        metadata=_metadata(loaded, result, options),
        layer_paths=_layer_paths(result),
    )
    with replacing(path) as temporary:
        progress("exporting to ONNX")
        single = open_axes == "none" or loaded.takes_images
        batch = options.static_batch or (1 if single else 2)
        inputs = clone_tensors(example_batches(loaded, [batch])[0])
        stats, operators = write_onnx(result.model, inputs, temporary, path, export_options)
        progress("verifying")
        checks = _checked(result, temporary, batches, options)
    report = conversion_report(loaded, result)
    after = NetworkStats(result.report.after.parameters, operators)
    return replace(report, after=after, onnx=stats, verification=checks)


def prune_loaded(
    loaded: LoadedCheckpoint, options: ConvertOptions, progress: Progress = lambda _step: None
) -> PruneResult:
    """Check the running statistics of a loaded checkpoint and prune its network."""
    progress("running the original once")
    inputs = _accepted_inputs(loaded)
    progress("pruning")
    result = prune(
        loaded.model,
        inputs,
        on_unconverged=options.on_unconverged,
        fold=options.fold,
        any_size=options.dynamic == "spatial",
    )
    if not options.trust_running_statistics:
        require_averages(result.original, inputs)
    result.model.eval()
    return result


def example_batches(loaded: LoadedCheckpoint, batch_sizes: Sequence[int]) -> list[tuple[Any, ...]]:
    """Standard normal inputs of a loaded network, the same at every call.

    A network that takes images gets one list of so many images per call.
    """
    sizes = [require_input_size(loaded), *loaded.more_inputs]
    batches = random_batches(sizes, batch_sizes)
    if not loaded.takes_images:
        return list(batches)
    return [(list(batch[0].unbind()),) for batch in batches]


def _accepted_inputs(loaded: LoadedCheckpoint) -> tuple[Any, ...]:
    """Make the example inputs and see whether the network takes them.

    Raises:
        UsageError: It does not.
    """
    inputs = example_batches(loaded, [1 if loaded.takes_images else 2])[0]
    try:
        with torch.no_grad():
            copy_model(loaded.model)(*clone_tensors(inputs))  # running it may change buffers
    # The network is the user's code and may raise anything.
    except Exception as error:
        sizes = [require_input_size(loaded), *loaded.more_inputs]
        shown = ", ".join("x".join(map(str, size)) for size in sizes)
        raise UsageError(
            f"the network cannot run on inputs of size {shown}",
            expected="an input size that the network was made for",
            found=f"{type(error).__name__}: {first_line(error)}",
            hint="give the size of the training inputs with --input-size, as HxW or CxHxW, and of "
            "several inputs with commas between them",
        ) from error
    return inputs


def verify_file(
    loaded: LoadedCheckpoint,
    onnx_path: Path | str,
    options: ConvertOptions,
    progress: Progress = lambda _step: None,
) -> ConversionReport:
    """Verify an existing ONNX file against a checkpoint.

    Raises:
        VerificationError: A check failed.
        SsnPruneError: See its subclasses.
    """
    result = prune_loaded(loaded, options, progress)
    progress("verifying")
    batches = verification_batches(result, loaded, options)
    checks = _checked(result, Path(onnx_path), batches, options)
    return replace(conversion_report(loaded, result), verification=checks)


def _checked(
    result: PruneResult, path: Path, batches: Sequence[tuple[Any, ...]], options: ConvertOptions
) -> VerificationReport:
    checks = verify(result, path, batches, algebra=options.algebra, rounding=options.rounding)
    require_passed(checks)
    return checks


def verification_batches(
    result: PruneResult, loaded: LoadedCheckpoint, options: ConvertOptions
) -> list[tuple[Any, ...]]:
    """Inputs at several batch sizes, and at several spatial sizes if these are open.

    Raises:
        ExportError: Spatial sizes are to be open, but the network accepts one only.
    """
    fixed = options.open_axes == "none" or loaded.takes_images
    sizes = (options.static_batch or 1,) * 4 if fixed else BATCH_SIZES
    batches = example_batches(loaded, sizes)
    if options.open_axes == "spatial":
        others = accepted_sizes(result.original, batches[0], result.guards)
        if not others:
            raise fixed_size_error(result.guards)
        generator = torch.Generator().manual_seed(1)
        batches += [
            pytree.tree_map(lambda x: torch.randn(x.shape, generator=generator), other)
            for other in others[:OTHER_SIZES]
        ]
    return batches


def conversion_report(loaded: LoadedCheckpoint, result: PruneResult) -> ConversionReport:
    """The report of a pruned checkpoint, before export and verification."""
    return ConversionReport(
        schema_version=SCHEMA_VERSION,
        ssn_prune_version=__version__,
        source=loaded.source,
        layers=result.report.layers,
        before=result.report.before,
        after=result.report.after,
        capture_error=result.report.capture_error,
        rounded=result.report.rounded,
        captured_parts=result.report.captured_parts,
        size_conditions=result.report.size_conditions,
    )


def require_input_size(loaded: LoadedCheckpoint) -> tuple[int, ...]:
    """The input size of a loaded checkpoint.

    Raises:
        UsageError: It is not known.
    """
    if loaded.input_size is None:
        raise UsageError(
            f"the input size of {loaded.source.arch} is not known",
            expected="--input-size H, HxW or CxHxW",
            found="a network of your own without the attribute input_size",
            hint="for example --input-size 224",
        )
    return loaded.input_size


def _layer_paths(result: PruneResult) -> dict[str, tuple[str, ...]]:
    """Where each layer's output appears: its own module, or the convolution that absorbed it."""
    paths: dict[str, tuple[str, ...]] = {}
    for layer in result.plan.layers:
        if not layer.exposed:
            continue
        if layer.fold is not None and layer.form is Form.IDENTITY:
            paths[layer.name] = (_carrier(result.plan, layer.fold.target),)
        else:
            paths[layer.name] = (layer.name, *layer.aliases)
    return paths


def _carrier(plan: Plan, target: str) -> str:
    """The module whose output is that of a layer that moved into ``target``."""
    absorbing = next((layer for layer in plan.layers if layer.name == target), None)
    if absorbing is not None and absorbing.fold is not None and absorbing.form is Form.IDENTITY:
        return _carrier(plan, absorbing.fold.target)
    return target


def _metadata(
    loaded: LoadedCheckpoint, result: PruneResult, options: ConvertOptions
) -> dict[str, str]:
    """Provenance and selection, as strings; no local paths and no times, so bytes repeat."""
    source = loaded.source
    selection: Mapping[str, Any] = {
        layer.name: {"mean": layer.mean.choice, "var": layer.var.choice, "form": layer.form}
        if layer.converged or options.on_unconverged == "argmax"
        else {"mean": layer.mean.ratios, "var": layer.var.ratios, "form": layer.form}
        for layer in result.report.layers
    }
    metadata = {
        "ssn_prune.version": __version__,
        "ssn_prune.source": source.file_name,
        "ssn_prune.source_sha256": source.sha256,
        "ssn_prune.architecture": source.arch or "",
        "ssn_prune.architecture_arguments": json.dumps(source.arch_args, sort_keys=True),
        "ssn_prune.torch_version": torch.__version__.split("+")[0],
        "ssn_prune.selection": json.dumps(to_json(selection)),
    }
    if result.report.size_conditions and options.open_axes == "spatial":
        metadata["ssn_prune.size_conditions"] = json.dumps(result.report.size_conditions)
    if options.preprocessing is not None:
        metadata["ssn_prune.preprocessing"] = options.preprocessing
    return metadata
