"""The formats that a pruned network can be exported to: how to write a file, and how to run it.

Every format is a row of :data:`EXPORT_FORMATS`, chosen by the suffix of the file name.
``docs/extending.md`` shows how to add one.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Protocol

from torch import nn

from ssn_prune.errors import ArgumentError
from ssn_prune.exported_file import FileStats
from ssn_prune.onnx_export.exporter import write_onnx
from ssn_prune.onnx_export.options import ExportOptions
from ssn_prune.progress import Progress
from ssn_prune.runtime.file_facts import FileFacts
from ssn_prune.runtime.file_outputs import FileOutput, onnx_outputs
from ssn_prune.runtime.opening import Opening
from ssn_prune.runtime.providers import CPU
from ssn_prune.runtime.stored_metadata import StoredSource
from ssn_prune.runtime.stored_program import facts_of_program, source_of_program
from ssn_prune.runtime.torch_programs import TORCH
from ssn_prune.runtime.trust import Trust
from ssn_prune.surgery.results import LayerError
from ssn_prune.text import printable
from ssn_prune.torch_export.exporter import write_pt2
from ssn_prune.verification.compare import Run
from ssn_prune.verification.onnx_runtime import (
    facts_of_onnx,
    layer_errors,
    layer_errors_in,
    onnx_apart,
    open_onnx,
    source_of_onnx,
)
from ssn_prune.verification.torch_runtime import layer_errors_pt2, open_pt2, pt2_apart


class Write(Protocol):
    """Writes a file in one format."""

    def __call__(
        self,
        model: nn.Module,
        example_inputs: tuple[Any, ...],
        temporary: Path,
        target: Path,
        options: ExportOptions,
        progress: Progress = ...,
    ) -> tuple[FileStats, dict[str, int] | None]:
        """Write a pruned network.

        Args:
            model: The network. Not changed.
            example_inputs: Inputs of one call.
            temporary: The file to write, which is moved to ``target`` later.
            target: Its final name.
            options: How to export.
            progress: Called with the name of each step before it starts.

        Returns:
            Statistics of the file, and the ATen operators that it was made from, counted by name;
            None if they are not known.

        Raises:
            ExportError: The network cannot be exported.
            OutputError: The file cannot be written.
        """


@dataclass(frozen=True)
class Measurement:
    """How ``bench`` measures files of a format.

    Attributes:
        runtime: Name of their runtime, for people.
        add: The action of :class:`~ssn_prune.runtime.worker.Worker` that opens one to be timed.
        memory: The action that measures the memory that one takes.
    """

    runtime: str
    add: str
    memory: str


@dataclass(frozen=True)
class ExportFormat:
    """One format.

    Attributes:
        name: Its name in options.
        suffix: The suffix of its files.
        write: Writes a file.
        open: Opens a file in its runtime, on the CPU, with torch's number of threads. Raises an
            :class:`~ssn_prune.errors.SsnPruneError` if the runtime cannot load or run it.
        runtime: Name of its runtime, for people.
        layer_errors: Measures the error of every layer inside a file; None for formats that do not
            store where a layer's output is.
        outputs: Names a file's outputs, and the activations that make them; None for formats that
            do not store them.
        apart: Opens and runs a file that anyone may have written in a process of its own, and
            gives this row with the functions that use it; None for formats that always run in this
            process, on the CPU.
        provider: The execution provider that files run on; None for formats without one.
        executes: Whether reading a file executes what is in it, so that ``verify`` and ``bench``
            open one only if the user vouches for it.
        source: Reads which checkpoint a file names, within a timeout in seconds; None for formats
            that do not store it.
        facts: Reads what a file says of its inputs, within a timeout in seconds; None for formats
            that do not store it.
        measurement: How ``bench`` measures files; None for formats that it cannot measure.
    """

    name: str
    suffix: str
    write: Write
    open: Callable[[Path], Run]
    runtime: str
    layer_errors: Callable[[nn.Module, Path, tuple[Any, ...]], tuple[LayerError, ...]] | None = None
    outputs: Callable[[Path], Sequence[FileOutput]] | None = None
    apart: Callable[[Path, Opening], AbstractContextManager[ExportFormat]] | None = None
    provider: str | None = None
    executes: bool = False
    source: Callable[[Path, float], StoredSource | None] | None = None
    facts: Callable[[Path, float], FileFacts] | None = None
    measurement: Measurement | None = None


@contextmanager
def _onnx_apart(path: Path, opening: Opening) -> Iterator[ExportFormat]:
    how = (path, opening.timeout, opening.provider)
    with onnx_apart(*how, each_run=opening.each_run) as opened:
        yield replace(
            EXPORT_FORMATS[0],
            open=lambda _path: opened.run,
            layer_errors=lambda original, _path, batch: layer_errors_in(opened, original, batch),
            outputs=lambda _path: opened.outputs,
            provider=opened.provider,
        )


@contextmanager
def _pt2_apart(path: Path, opening: Opening) -> Iterator[ExportFormat]:
    with pt2_apart(path, opening) as opened:
        yield replace(
            EXPORT_FORMATS[1],
            open=lambda _path: opened.run,
            layer_errors=lambda original, _path, batch: opened.layer_errors(original, batch),
        )


EXPORT_FORMATS: tuple[ExportFormat, ...] = (
    ExportFormat(
        name="onnx",
        suffix=".onnx",
        write=write_onnx,
        open=lambda path: open_onnx(path, path.name),
        runtime="ONNX Runtime",
        layer_errors=layer_errors,
        outputs=onnx_outputs,
        apart=_onnx_apart,
        provider=CPU,
        source=source_of_onnx,
        facts=facts_of_onnx,
        measurement=Measurement("ONNX Runtime", "add", "memory"),
    ),
    ExportFormat(
        name="pt2",
        suffix=".pt2",
        write=write_pt2,
        open=open_pt2,
        runtime=TORCH,
        layer_errors=layer_errors_pt2,
        apart=_pt2_apart,
        executes=True,
        source=lambda path, _timeout: source_of_program(path),
        facts=lambda path, _timeout: facts_of_program(path),
        measurement=Measurement(TORCH, "add_program", "memory_program"),
    ),
)


def format_of(path: Path, name: str | None = None) -> ExportFormat:
    """The format of a file.

    Args:
        path: The file. A suffix that belongs to no format means ONNX.
        name: The format that is wanted; None for the one of the suffix.

    Raises:
        ArgumentError: There is no such format, or the suffix belongs to another.
    """
    named = (entry for entry in EXPORT_FORMATS if entry.suffix == path.suffix.lower())
    found = next(named, EXPORT_FORMATS[0])
    if name in (None, found.name):
        return found
    wanted = next((entry for entry in EXPORT_FORMATS if entry.name == name), None)
    if wanted is None:
        raise ArgumentError(
            f"no format is called {name!r}",
            expected=" or ".join(entry.name for entry in EXPORT_FORMATS),
            found=f"`format={name!r}`",
            hint="leave `format=` out: the suffix of the file chooses it",
        )
    raise ArgumentError(
        f"the name of the file does not fit the format {wanted.name}",
        expected=f"a name that ends in {wanted.suffix}, by which the format is recognised",
        found=printable(path.name),
        hint=f"leave `format=` out, or write to {printable(path.with_suffix(wanted.suffix).name)}",
    )


_OF_CHECKPOINTS = {".pth", ".pt", ".ckpt", ".bin", ".pkl"}
_OF_OTHER_KINDS = {".safetensors", ".npz", ".tflite", ".mlmodel", ".engine"}
"""Suffixes of weights, and of programs for which there is no format here."""


def require_fitting_name(path: Path) -> None:
    """Refuse to write a file whose name promises another kind of file.

    Args:
        path: The file to write. An unknown suffix, and none, mean ONNX.

    Raises:
        ArgumentError: The suffix belongs to weights or to another kind of program, or has spaces.
    """
    suffix = path.suffix.lower()
    spaced = suffix != suffix.strip() and suffix.strip() in {e.suffix for e in EXPORT_FORMATS}
    if suffix in _OF_CHECKPOINTS | _OF_OTHER_KINDS or spaced:
        raise ArgumentError(
            f"{printable(path.name)!r} is no name for an exported file",
            expected=f"a name that ends in {' or '.join(e.suffix for e in EXPORT_FORMATS)}",
            found=f"the suffix {printable(path.suffix)!r}, which belongs to another kind of file",
            hint=f"write to {printable(path.with_suffix(EXPORT_FORMATS[0].suffix).name)}; "
            "`save_weights=` of a conversion writes the pruned weights",
        )


def require_checkpoint_name(path: Path) -> None:
    """Refuse to write a checkpoint under a name that promises another kind of file.

    Args:
        path: The file to write.

    Raises:
        ArgumentError: The suffix belongs to exported files or to another kind of weights.
    """
    if path.suffix.lower().strip() in _OF_OTHER_KINDS | {e.suffix for e in EXPORT_FORMATS}:
        raise ArgumentError(
            f"{printable(path.name)!r} is no name for a checkpoint",
            expected="a name that ends in .pth",
            found=f"the suffix {printable(path.suffix)!r}, which belongs to another kind of file",
            hint=f"write to {printable(path.with_suffix('.pth').name)}",
        )


def require_trusted(path: Path, trust: Trust) -> None:
    """Refuse a file whose content would be executed and that the user does not vouch for.

    Raises:
        UntrustedFileError: It is such a file.
    """
    if format_of(path).executes:
        trust.allowed(path.name)
