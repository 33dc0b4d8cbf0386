"""The formats that a pruned network can be exported to: how to write a file, and how to run it.

Every format is a row of :data:`EXPORT_FORMATS`, and the suffix of a file chooses it.
``docs/extending.md`` adds another one.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Protocol

from torch import nn

from ssn_prune.onnx_export.exporter import write_onnx
from ssn_prune.onnx_export.options import ExportOptions
from ssn_prune.progress import Progress
from ssn_prune.runtime.file_outputs import FileOutput, onnx_outputs
from ssn_prune.runtime.providers import CPU
from ssn_prune.surgery.results import LayerError
from ssn_prune.verification.compare import Run
from ssn_prune.verification.onnx_runtime import (
    layer_errors,
    layer_errors_in,
    onnx_apart,
    open_onnx,
)


class FileStats(Protocol):
    """What is known of every exported file; formats add to it."""

    @property
    def file_name(self) -> str:
        """Its name."""

    @property
    def bytes(self) -> int:
        """Its size, with that of a separate file of weights."""


class Write(Protocol):
    """Writes a file."""

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
            target: Its later name.
            options: How to export.
            progress: Called with every step.

        Returns:
            Statistics of the file, and the ATen operators that it was made from, None if unknown.

        Raises:
            ExportError: The network cannot be exported.
            OutputError: The file cannot be written.
        """


@dataclass(frozen=True)
class ExportFormat:
    """One format.

    Attributes:
        name: For people and options.
        suffix: Of its files.
        write: Writes a file.
        open: Opens a file in its runtime, on the CPU, with torch's number of threads. Raises an
            :class:`~ssn_prune.errors.SsnPruneError` if the runtime cannot load or run it.
        layer_errors: Measures the error of every layer inside a file; None for formats that do not
            say where a layer's output is.
        outputs: Names a file's outputs, and the activations that make them; None for formats that
            do not say.
        apart: Gives the same row for a file that anyone may have written, with a process of its own
            in which the file is opened and run within some seconds on an execution provider; None
            for formats that run here always, on the CPU.
        provider: The execution provider that files run on; None for formats without one.
    """

    name: str
    suffix: str
    write: Write
    open: Callable[[Path], Run]
    layer_errors: Callable[[nn.Module, Path, tuple[Any, ...]], tuple[LayerError, ...]] | None = None
    outputs: Callable[[Path], Sequence[FileOutput]] | None = None
    apart: Callable[[Path, float, str], AbstractContextManager[ExportFormat]] | None = None
    provider: str | None = None


@contextmanager
def _onnx_apart(path: Path, timeout: float, provider: str) -> Iterator[ExportFormat]:
    with onnx_apart(path, timeout, provider) as opened:
        yield replace(
            EXPORT_FORMATS[0],
            open=lambda _path: opened.run,
            layer_errors=lambda original, _path, batch: layer_errors_in(opened, original, batch),
            outputs=lambda _path: opened.outputs,
            provider=opened.provider,
        )


EXPORT_FORMATS: tuple[ExportFormat, ...] = (
    ExportFormat(
        "onnx",
        ".onnx",
        write_onnx,
        lambda path: open_onnx(path, path.name),
        layer_errors,
        onnx_outputs,
        _onnx_apart,
        CPU,
    ),
)


def format_of(path: Path) -> ExportFormat:
    """The format of a file by its suffix; ONNX for a suffix that none has."""
    named = (entry for entry in EXPORT_FORMATS if entry.suffix == path.suffix.lower())
    return next(named, EXPORT_FORMATS[0])
