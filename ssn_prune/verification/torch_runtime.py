"""Torch programs in torch: our own in this process, others, if trusted, in another."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from ssn_prune.runtime.opening import Opening
from ssn_prune.runtime.process import RuntimeProcess, runtime_process
from ssn_prune.runtime.stored_program import layer_values_of_program
from ssn_prune.runtime.torch_programs import TORCH, TorchProgram
from ssn_prune.runtime.trust import trusted_content
from ssn_prune.surgery.results import LayerError
from ssn_prune.verification.compare import Run
from ssn_prune.verification.layer_errors import layer_errors_at
from ssn_prune.verification.onnx_runtime import to_arrays, to_tensors


def open_pt2(path: Path) -> Run:
    """Open a torch program that this process has written.

    Raises:
        InferenceRuntimeError: torch cannot load it. The function that is returned raises it if the
            program cannot run.
    """
    program = _own(path)
    return lambda batch: to_tensors(program.run(to_arrays(batch)))


def layer_errors_pt2(
    original: nn.Module, path: Path, batch: tuple[Any, ...]
) -> tuple[LayerError, ...]:
    """The errors of the layers inside such a program; see :func:`layer_errors_at`."""
    program = _own(path)

    def run_at(batch: tuple[Any, ...], values: Sequence[str]) -> dict[str, Tensor]:
        found = to_tensors(program.run_at(to_arrays(batch), values))
        return dict(zip(values, found, strict=True))

    return layer_errors_at(original, batch, layer_values_of_program(path), run_at)


def _own(path: Path) -> TorchProgram:
    return TorchProgram(trusted_content(path, path.name, None), path.name)


@dataclass(frozen=True)
class Pt2Apart:
    """A torch program that is open in a process of its own."""

    path: Path
    _process: RuntimeProcess

    def run(self, batch: tuple[Any, ...]) -> list[Tensor]:
        """Run it on one batch.

        Raises:
            InferenceRuntimeError: It cannot be run.
        """
        return to_tensors(self._process.call("run", self.path.name, arrays=to_arrays(batch))[1])

    def run_at(self, batch: tuple[Any, ...], values: Sequence[str]) -> dict[str, Tensor]:
        """Run it on one batch and return values inside it."""
        how, arrays = {"values": list(values)}, to_arrays(batch)
        _, found = self._process.call("run_program_at", self.path.name, how, arrays)
        return dict(zip(values, to_tensors(found), strict=True))

    def layer_errors(self, original: nn.Module, batch: tuple[Any, ...]) -> tuple[LayerError, ...]:
        """The errors of the layers inside it; see :func:`layer_errors_at`."""
        values = layer_values_of_program(self.path)
        return layer_errors_at(original, batch, values, self.run_at)


@contextmanager
def pt2_apart(path: Path, opening: Opening) -> Iterator[Pt2Apart]:
    """Open a torch program in a process of its own, which ends with the block.

    Its address space is not limited, since torch's libraries reserve more of it than there is
    memory.

    Raises:
        UntrustedFileError: Nothing vouches for the program. Nothing in it was executed.
        InferenceRuntimeError: It cannot be loaded, or takes too long.
    """
    allowed = opening.trust.allowed(path.name)
    how = {"path": os.path.abspath(path), "threads": torch.get_num_threads(), "allowed": allowed}
    with runtime_process(opening.timeout, TORCH, limited=False) as process:
        process.each_call = opening.each_run
        process.call("open_program", path.name, how)
        yield Pt2Apart(path, process)
