"""Torch programs in torch: our own here, those of others in another process, if trusted."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import torch

from ssn_prune.runtime.opening import Opening
from ssn_prune.runtime.process import runtime_process
from ssn_prune.runtime.torch_programs import TORCH, TorchProgram
from ssn_prune.runtime.trust import trusted_content
from ssn_prune.verification.compare import Run
from ssn_prune.verification.onnx_runtime import to_arrays, to_tensors


def open_pt2(path: Path) -> Run:
    """Open a torch program that this process has written.

    Raises:
        InferenceRuntimeError: torch cannot load it; the function that is returned raises it if it
            cannot run.
    """
    program = TorchProgram(trusted_content(path, path.name, None), path.name)
    return lambda batch: to_tensors(program.run(to_arrays(batch)))


@contextmanager
def pt2_apart(path: Path, opening: Opening) -> Iterator[Run]:
    """Open a torch program in a process of its own, which ends with the block.

    Its addresses are not bounded, since torch's libraries take more of them than there is memory.

    Raises:
        UntrustedFileError: Nothing vouches for it. Nothing of it was executed.
        InferenceRuntimeError: It cannot be loaded, or takes too long.
    """
    allowed = opening.trust.allowed(path.name)
    how = {"path": os.path.abspath(path), "threads": torch.get_num_threads(), "allowed": allowed}
    with runtime_process(opening.timeout, TORCH, limited=False) as process:
        process.call("open_program", path.name, how)
        yield lambda batch: to_tensors(process.call("run", path.name, arrays=to_arrays(batch))[1])
