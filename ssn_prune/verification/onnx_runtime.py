"""Rounding check: the exported file in ONNX Runtime against the original in float64.

The bound is set by the original itself: four times its own float32 error on the same inputs, plus
one float32 unit of the largest output. There is no looser constant. If the network has layers of
another implementation, the reference is that network, and the error is the smaller one of it and of
the one with layers of ssn_prune.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import torch
from torch import Tensor, nn

from ssn_prune.onnx_export.exporter import LAYER_VALUES_KEY
from ssn_prune.surgery.float64 import float64_copy
from ssn_prune.surgery.nested import max_error, tensor_leaves, top1_agreement
from ssn_prune.surgery.output_hooks import SpilledOutputs
from ssn_prune.verification.reference_outputs import (
    ReferenceOutputs,
    float32_outputs,
    run_float64,
)
from ssn_prune.verification.results import RoundingCheck
from ssn_prune.verification.session import open_session, runtime_error

ERROR_FACTOR = 4.0
SCALE_FACTOR = 1e-6


def rounding_bound(original_error: float, scale: float) -> float:
    """4 x the reference's own float32 error + 1e-6 x the largest reference value."""
    return ERROR_FACTOR * original_error + SCALE_FACTOR * scale


def check_rounding(
    original: nn.Module,
    path: Path,
    batches: Sequence[tuple[Tensor, ...]],
    outputs: ReferenceOutputs,
) -> RoundingCheck:
    """Run the file and compare it with the reference, which has run already.

    Args:
        original: The network with switchable layers, to find the first layer that is off.
        path: The ONNX file.
        batches: Inputs of several calls.
        outputs: What the reference gives for them.

    Returns:
        Errors over all batches together; with several outputs, those of the one that uses most of
        its own bound. Outputs that are not finite never pass.

    Raises:
        CheckpointError: ONNX Runtime cannot load or run the file.
    """
    found = compare_file(path, batches, outputs)
    if found.passed:
        return found
    return replace(found, first_layer_off=_first_layer_off(original, path, batches[0]))


def compare_file(
    path: Path, batches: Sequence[tuple[Tensor, ...]], outputs: ReferenceOutputs
) -> RoundingCheck:
    """As :func:`check_rounding`, without a layer to blame."""
    run = _runner(path)
    converted = [run(batch) for batch in batches]
    del run
    errors_of = [_OutputErrors(len(outputs.float32)) for _ in outputs.exact[0]]
    for batch, exact in enumerate(outputs.exact):
        given = converted[batch]
        missing = len(given) != len(exact)
        for index, errors in enumerate(errors_of):
            value = torch.empty(0) if missing else given[index]
            errors.add(value, [own[batch][index] for own in outputs.float32], exact[index])
    worst = max(errors_of, key=lambda errors: errors.ratio)
    agreements = [
        top1_agreement(given[0], exact[0], undecided=2 * errors_of[0].bound)
        for given, exact in zip(converted, outputs.exact, strict=True)
        if given[0].shape == exact[0].shape
    ]
    decided = [share for share in agreements if share is not None]
    agreement = min(decided) if decided else None
    return RoundingCheck(
        passed=all(errors.passed for errors in errors_of) and agreement in (None, 1.0),
        max_error=worst.error,
        original_float32_error=worst.own_error,
        bound=worst.bound,
        scale=worst.scale,
        top1_agreement=agreement,
        inputs=sum(len(batch[0]) for batch in batches),
        batch_sizes=tuple(len(batch[0]) for batch in batches),
        first_layer_off=None,
    )


class _OutputErrors:
    """Errors of one output over all batches; every output has a bound of its own."""

    def __init__(self, networks: int) -> None:
        self.error = self.scale = 0.0
        self.own_errors = [0.0] * networks

    def add(self, value: Tensor, own: Sequence[Tensor], exact: Tensor) -> None:
        error, scale = max_error(value, exact)
        self.error = max(self.error, error)
        for index, single in enumerate(own):
            self.own_errors[index] = max(self.own_errors[index], max_error(single, exact)[0])
        self.scale = max(self.scale, scale)

    @property
    def own_error(self) -> float:
        """The smallest of the networks: a poor formula is no excuse."""
        return min(self.own_errors)

    @property
    def bound(self) -> float:
        return rounding_bound(self.own_error, self.scale)

    @property
    def passed(self) -> bool:
        return bool(np.isfinite(self.bound)) and self.error <= self.bound

    @property
    def ratio(self) -> float:
        if self.passed:
            return self.error / self.bound if self.bound > 0 else 0.0
        return float("inf")


def _runner(path: Path, model: onnx.ModelProto | None = None) -> Any:
    """A function that runs the file, or another model in its place, on one batch."""
    source = path if model is None else model.SerializeToString()
    session = open_session(source, path.name, threads=torch.get_num_threads(), spinning=False)
    names = [value.name for value in session.get_inputs()]

    def run(batch: tuple[Tensor, ...]) -> list[Tensor]:
        arrays = [value.numpy() for value in tensor_leaves(batch)]
        try:
            outputs = session.run(None, dict(zip(names, arrays, strict=True)))
        # ONNX Runtime has a class of its own for every status code and no common base.
        except Exception as error:
            raise runtime_error(path.name, error) from error
        return [torch.from_numpy(np.asarray(output)) for output in outputs]

    return run


def _first_layer_off(original: nn.Module, path: Path, batch: tuple[Tensor, ...]) -> str | None:
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
    with SpilledOutputs() as exact, SpilledOutputs() as own:
        run_float64(float64_copy(original), batch, values, exact)
        float32_outputs(original, [batch], values, own)
        converted = dict(zip(outputs, _runner(path, model)(batch), strict=True))
        for name, calls in exact.layers.items():
            if calls != 1:
                continue  # the stored value is that of one call
            (reference,), (single,) = exact.read(name, 0) or [], own.read(name, 0) or []
            own_error, scale = max_error(single, reference)
            error, _ = max_error(converted[values[name]], reference)
            if not error <= rounding_bound(own_error, scale):
                return name
    return None
