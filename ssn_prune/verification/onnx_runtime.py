"""ONNX files in ONNX Runtime on the CPU."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
import torch
from torch import Tensor, nn

from ssn_prune.errors import InferenceRuntimeError, first_line
from ssn_prune.onnx_export.exporter import LAYER_VALUES_KEY
from ssn_prune.surgery.float64 import float64_copy
from ssn_prune.surgery.nested import max_error, tensor_leaves
from ssn_prune.surgery.output_hooks import SpilledOutputs
from ssn_prune.verification.compare import Run, rounding_bound
from ssn_prune.verification.reference_outputs import float32_outputs, run_float64


def open_onnx(source: Path | bytes, name: str) -> Run:
    """Open an ONNX file with torch's number of threads.

    Args:
        source: The file, or a serialized model.
        name: Its name, for errors.

    Returns:
        A function that runs it on one batch.

    Raises:
        InferenceRuntimeError: ONNX Runtime cannot load it; the function raises it if it cannot run.
    """
    session = open_session(source, name, threads=torch.get_num_threads(), spinning=False)
    names = [value.name for value in session.get_inputs()]

    def run(batch: tuple[Any, ...]) -> list[Tensor]:
        arrays = [value.numpy() for value in tensor_leaves(batch)]
        try:
            outputs = session.run(None, dict(zip(names, arrays, strict=True)))
        # ONNX Runtime has a class of its own for every status code and no common base.
        except Exception as error:
            raise runtime_error(name, error) from error
        return [torch.from_numpy(np.asarray(output)) for output in outputs]

    return run


def open_session(
    source: Path | bytes,
    name: str,
    *,
    threads: int = 1,
    spinning: bool = True,
    profile: Path | None = None,
) -> Any:
    """An ``onnxruntime.InferenceSession``.

    Args:
        source: The file, or a serialized model.
        name: Its name, for errors.
        threads: Number of threads.
        spinning: Whether threads that wait spin, against whatever else runs.
        profile: Prefix of a file to write a profile to.

    Raises:
        InferenceRuntimeError: ONNX Runtime cannot load it.
    """
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    options.add_session_config_entry("session.intra_op.allow_spinning", str(int(spinning)))
    options.log_severity_level = 3
    if profile is not None:
        options.enable_profiling = True
        options.profile_file_prefix = str(profile)
    model = str(source) if isinstance(source, Path) else source
    try:
        return onnxruntime.InferenceSession(
            model, sess_options=options, providers=["CPUExecutionProvider"]
        )
    # ONNX Runtime has a class of its own for every status code and no common base.
    except Exception as error:
        raise runtime_error(name, error) from error


def runtime_error(name: str, error: Exception) -> InferenceRuntimeError:
    """The error for a file that ONNX Runtime cannot load or run."""
    return InferenceRuntimeError(
        f"ONNX Runtime cannot run {name}",
        expected="an ONNX file for inputs of this network",
        found=first_line(error),
        hint="check that the file belongs to this checkpoint and input size",
    )


def first_layer_off(original: nn.Module, path: Path, batch: tuple[Tensor, ...]) -> str | None:
    """Open the graph at the layers' outputs and find the first that is outside its own bound.

    Args:
        original: The network with switchable layers; not changed.
        path: An ONNX file that stores the names of the layers' outputs.
        batch: Inputs of one call.

    Returns:
        The layer's name; None if no layer is off, or the file does not say where they are.
    """
    model = onnx.load(str(path), load_external_data=True)
    stored = {item.key: item.value for item in model.metadata_props}
    values: dict[str, str] = json.loads(stored.get(LAYER_VALUES_KEY, "{}"))
    known = {output.name for output in model.graph.output}
    extra = [value for value in dict.fromkeys(values.values()) if value not in known]
    outputs = [output.name for output in model.graph.output] + extra
    model.graph.output.extend(onnx.helper.make_empty_tensor_value_info(name) for name in extra)
    if not values or model.ByteSize() > onnx.checker.MAXIMUM_PROTOBUF:
        return None
    with SpilledOutputs() as exact, SpilledOutputs() as own:
        run_float64(float64_copy(original), batch, values, exact)
        float32_outputs(original, [batch], values, own)
        converted = dict(
            zip(outputs, open_onnx(model.SerializeToString(), path.name)(batch), strict=True)
        )
        for name, calls in exact.layers.items():
            if calls != 1:
                continue  # the stored value is that of one call
            (reference,), (single,) = exact.read(name, 0) or [], own.read(name, 0) or []
            own_error, scale = max_error(single, reference)
            error, _ = max_error(converted[values[name]], reference)
            if not error <= rounding_bound(own_error, scale):
                return name
    return None
