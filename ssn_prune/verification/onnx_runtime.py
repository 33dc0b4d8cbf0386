"""ONNX files in ONNX Runtime: our own in this process, untrusted ones in another."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from ssn_prune.errors import InferenceRuntimeError
from ssn_prune.images.pixels import pixels_behind
from ssn_prune.images.preprocessing import Preprocessing
from ssn_prune.runtime.file_facts import FileFacts, embedded_by
from ssn_prune.runtime.file_outputs import FileOutput
from ssn_prune.runtime.process import TIMEOUT, RuntimeProcess, runtime_process
from ssn_prune.runtime.providers import CPU
from ssn_prune.runtime.sessions import open_session, run_session
from ssn_prune.runtime.stored_metadata import StoredSource, preprocessing_in
from ssn_prune.surgery.nested import tensor_leaves
from ssn_prune.surgery.results import LayerError
from ssn_prune.verification.compare import Run
from ssn_prune.verification.layer_errors import layer_errors_at


def open_onnx(source: Path | bytes, name: str) -> Run:
    """Open an ONNX file on the CPU with torch's number of threads.

    Args:
        source: The file, or a serialized model.
        name: Its name, for errors.

    Returns:
        A function that runs it on one batch.

    Raises:
        InferenceRuntimeError: ONNX Runtime cannot load it. The function raises it if it cannot run.
    """
    session = open_session(source, name, threads=torch.get_num_threads(), spinning=False)
    embedded = embedded_by(session.get_modelmeta().custom_metadata_map)
    return lambda batch: to_tensors(run_session(session, name, to_arrays(batch, embedded)))


@dataclass(frozen=True)
class OnnxApart:
    """An ONNX file that is open in a process of its own.

    Attributes:
        path: The file.
        outputs: Its outputs, in its order.
        layer_values: The names of the values that equal the layers' outputs, by layer.
        provider: The execution provider that it runs on.
        embedded: How it normalizes pixels itself; None if it takes normalized inputs.
    """

    path: Path
    outputs: tuple[FileOutput, ...]
    layer_values: Mapping[str, str]
    provider: str
    embedded: Preprocessing | None
    _process: RuntimeProcess

    def run(self, batch: tuple[Any, ...]) -> list[Tensor]:
        """Run it on one batch.

        Raises:
            InferenceRuntimeError: It cannot be run.
        """
        given = to_arrays(batch, self.embedded)
        _, arrays = self._process.call("run", self.path.name, arrays=given)
        return to_tensors(arrays)

    def run_at(self, batch: tuple[Any, ...], values: Sequence[str]) -> dict[str, Tensor]:
        """Run it on one batch and return values inside it; none if it exceeds protobuf's 2 GB."""
        how = _how(self.path, self.provider) | {"values": list(values)}
        given = to_arrays(batch, self.embedded)
        names, arrays = self._process.call("run_at", self.path.name, how, given)
        return dict(zip(names, to_tensors(arrays), strict=True))


@contextmanager
def onnx_apart(
    path: Path, timeout: float = TIMEOUT, provider: str = CPU, *, each_run: bool = False
) -> Iterator[OnnxApart]:
    """Open an ONNX file in a process of its own, which ends with the block.

    Args:
        path: The file.
        timeout: Seconds that loading and all runs together may take.
        provider: The execution provider, by ONNX Runtime's name.
        each_run: Apply the timeout to loading and to each run separately.

    Raises:
        InferenceRuntimeError: It cannot be loaded, or takes too long.
        ArgumentError: It would run on another provider.
    """
    with runtime_process(timeout, limited=provider == CPU) as process:
        process.each_call = each_run
        found, _ = process.call("open", path.name, _how(path, provider))
        outputs = tuple(FileOutput(**output) for output in found["outputs"])
        known = (found["layer_values"], found["provider"], embedded_by(found["preprocessing"]))
        yield OnnxApart(path, outputs, *known, process)


def _how(path: Path, provider: str) -> dict[str, Any]:
    threads = torch.get_num_threads()
    return {"path": os.path.abspath(path), "threads": threads, "provider": provider}


def source_of_onnx(path: Path, timeout: float) -> StoredSource | None:
    """The checkpoint that an ONNX file names; None if it names none or cannot be read.

    Args:
        path: The file, which anyone may have written.
        timeout: Seconds that reading it may take.
    """
    found = _read(path, timeout, "source")
    return None if found is None else StoredSource(**found)


def facts_of_onnx(path: Path, timeout: float) -> FileFacts:
    """What an ONNX file says of its inputs; empty if it cannot be read."""
    found = _read(path, timeout, "facts")
    if found is None:
        return FileFacts()
    return FileFacts(found["batch"], preprocessing_in(found["preprocessing"]))


def _read(path: Path, timeout: float, action: str) -> Any:
    try:
        with runtime_process(timeout) as process:
            return process.call(action, path.name, {"path": os.path.abspath(path)})[0]
    except InferenceRuntimeError:  # running the file will report what is wrong with it
        return None


def to_arrays(batch: tuple[Any, ...], embedded: Preprocessing | None = None) -> list[np.ndarray]:
    """The inputs of one call, in the order of a file.

    Args:
        batch: Inputs of the network.
        embedded: How the file normalizes pixels, if it does; it is then given the pixels that make
            the inputs.
    """
    leaves = tensor_leaves(batch)
    if embedded is not None:
        leaves = [pixels_behind(leaf, embedded) for leaf in leaves]
    return [value.numpy() for value in leaves]


def to_tensors(arrays: Sequence[np.ndarray]) -> list[Tensor]:
    """The outputs of a file as tensors."""
    return [torch.from_numpy(array) for array in arrays]


def layer_errors(
    original: nn.Module, path: Path, batch: tuple[Tensor, ...]
) -> tuple[LayerError, ...]:
    """The errors of the layers inside an ONNX file; see :func:`layer_errors_at`.

    Args:
        original: The network with switchable layers; not changed.
        path: The file, which stores the names of the layers' outputs.
        batch: Inputs of one call.
    """
    with onnx_apart(path) as opened:
        return layer_errors_in(opened, original, batch)


def layer_errors_in(
    opened: OnnxApart, original: nn.Module, batch: tuple[Tensor, ...]
) -> tuple[LayerError, ...]:
    """The same for a file that is open."""
    return layer_errors_at(original, batch, opened.layer_values, opened.run_at)
