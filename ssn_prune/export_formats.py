"""The formats that a pruned network can be exported to: how to write a file, and how to run it.

Every format is a row of :data:`EXPORT_FORMATS`; ``docs/extending.md`` adds another one.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import torch
from torch import Tensor, nn

from ssn_prune.onnx_export.exporter import write_onnx
from ssn_prune.onnx_export.options import ExportOptions
from ssn_prune.progress import Progress
from ssn_prune.surgery.nested import tensor_leaves
from ssn_prune.verification.session import open_session, runtime_error

Run = Callable[[tuple[Any, ...]], list[Tensor]]
"""Runs a file on the inputs of one call; its outputs in the order of the network's own."""


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
            temporary: The file to write, which will be renamed to ``target`` in the same folder.
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
    """

    name: str
    suffix: str
    write: Write
    open: Callable[[Path], Run]


def open_onnx(path: Path) -> Run:
    """Open an ONNX file in ONNX Runtime."""
    session = open_session(path, path.name, threads=torch.get_num_threads(), spinning=False)
    names = [value.name for value in session.get_inputs()]

    def run(batch: tuple[Any, ...]) -> list[Tensor]:
        arrays = [value.numpy() for value in tensor_leaves(batch)]
        try:
            outputs = session.run(None, dict(zip(names, arrays, strict=True)))
        # ONNX Runtime has a class of its own for every status code and no common base.
        except Exception as error:
            raise runtime_error(path.name, error) from error
        return [torch.from_numpy(np.asarray(output)) for output in outputs]

    return run


EXPORT_FORMATS: tuple[ExportFormat, ...] = (ExportFormat("onnx", ".onnx", write_onnx, open_onnx),)
