"""Rounding check: the exported file in ONNX Runtime against the original in float64.

The bound is set by the original itself: four times its own float32 error on the same inputs, plus
one float32 unit of the largest output. There is no looser constant.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
import torch
from torch import Tensor, nn

from ssn_prune.errors import CheckpointError
from ssn_prune.layers.copying import floating_copy
from ssn_prune.onnx_export.export import LAYER_VALUES_KEY
from ssn_prune.report import RoundingCheck
from ssn_prune.tensors import max_error, tensor_leaves, to_dtype, top1_agreement
from ssn_prune.verification.taps import run_with_taps

ERROR_FACTOR = 4.0
SCALE_FACTOR = 1e-6


def rounding_bound(original_error: float, scale: float) -> float:
    """4 x the original's own float32 error + 1e-6 x the largest reference value."""
    return ERROR_FACTOR * original_error + SCALE_FACTOR * scale


def check_rounding(
    original: nn.Module, path: Path, batches: Sequence[tuple[Tensor, ...]]
) -> RoundingCheck:
    """Run the file and the original on the same inputs.

    Args:
        original: The reference; not changed.
        path: The ONNX file.
        batches: Inputs of several calls.

    Returns:
        Errors over all batches together. Outputs that are not finite never pass.

    Raises:
        CheckpointError: ONNX Runtime cannot load or run the file.
    """
    single = floating_copy(original, torch.float32)
    double = floating_copy(original, torch.float64)
    run = _session(path)
    y64: list[list[Tensor]] = []
    actual: list[list[Tensor]] = []
    error, original_error, scale = 0.0, 0.0, 0.0
    with torch.no_grad():
        for batch in batches:
            reference = tensor_leaves(double(*to_dtype(batch, torch.float64)))
            own = tensor_leaves(single(*to_dtype(batch, torch.float32)))
            converted = run(batch)
            if len(converted) != len(reference):
                error = float("inf")
                break
            own_error, own_scale = max_error(own, reference)
            original_error = max(original_error, own_error)
            error = max(error, max_error(converted, reference)[0])
            scale = max(scale, own_scale)
            y64.append(reference)
            actual.append(converted)
    bound = rounding_bound(original_error, scale)
    agreement = None
    if np.isfinite(error) and y64:
        firsts = [torch.cat([outputs[0] for outputs in part]) for part in (actual, y64)]
        agreement = top1_agreement([firsts[0]], [firsts[1]], undecided=2 * bound)
    within = bool(np.isfinite(bound)) and error <= bound
    passed = within and agreement in (None, 1.0)
    return RoundingCheck(
        passed=passed,
        max_error=error,
        original_float32_error=original_error,
        bound=bound,
        scale=scale,
        top1_agreement=agreement,
        inputs=sum(len(batch[0]) for batch in batches),
        batch_sizes=tuple(len(batch[0]) for batch in batches),
        first_layer_off=None if passed else _first_layer_off(double, single, path, batches[0]),
    )


def _session(path: Path, model: onnx.ModelProto | None = None) -> Any:
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    options.log_severity_level = 3
    source = str(path) if model is None else model.SerializeToString()
    try:
        session = onnxruntime.InferenceSession(
            source, sess_options=options, providers=["CPUExecutionProvider"]
        )
    # ONNX Runtime has a class of its own for every status code and no common base.
    except Exception as error:
        raise _runtime_error(path, error) from error
    names = [value.name for value in session.get_inputs()]

    def run(batch: tuple[Tensor, ...]) -> list[Tensor]:
        arrays = [value.numpy() for value in batch]
        try:
            outputs = session.run(None, dict(zip(names, arrays, strict=True)))
        except Exception as error:  # see above
            raise _runtime_error(path, error) from error
        return [torch.from_numpy(np.asarray(output)) for output in outputs]

    return run


def _runtime_error(path: Path, error: Exception) -> CheckpointError:
    return CheckpointError(
        f"ONNX Runtime cannot run {path.name}",
        expected="an ONNX file for inputs of this network",
        found=(str(error).strip() or type(error).__name__).splitlines()[0][:300],
        hint="check that the file belongs to this checkpoint and input size",
    )


def _first_layer_off(
    double: nn.Module, single: nn.Module, path: Path, batch: tuple[Tensor, ...]
) -> str | None:
    """Open the graph at the layers' outputs and find the first that is outside its own bound."""
    model = onnx.load(str(path), load_external_data=True)
    stored = {item.key: item.value for item in model.metadata_props}
    values: dict[str, str] = json.loads(stored.get(LAYER_VALUES_KEY, "{}"))
    known = {output.name for output in model.graph.output}
    extra = [value for value in dict.fromkeys(values.values()) if value not in known]
    outputs = [output.name for output in model.graph.output] + extra
    model.graph.output.extend(onnx.helper.make_empty_tensor_value_info(name) for name in extra)
    if not values or model.ByteSize() > onnx.checker.MAXIMUM_PROTOBUF:
        return None
    _, exact = run_with_taps(double, to_dtype(batch, torch.float64), values)
    _, own = run_with_taps(single, to_dtype(batch, torch.float32), values)
    converted = dict(zip(outputs, _session(path, model)(batch), strict=True))
    for name, reference in exact.items():
        if len(reference) != 1:
            continue  # called several times: the stored value is that of one call
        own_error, scale = max_error(own[name], reference)
        error, _ = max_error([converted[values[name]]], reference)
        if not error <= rounding_bound(own_error, scale):
            return name
    return None
