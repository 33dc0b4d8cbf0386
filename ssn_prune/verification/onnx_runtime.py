"""Rounding check: the exported file in ONNX Runtime against the original in float64.

The bound is set by the original itself: four times its own float32 error on the same inputs, plus
one float32 unit of the largest output. There is no looser constant.
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

from ssn_prune.memory import release_memory
from ssn_prune.onnx_export.exporter import LAYER_VALUES_KEY
from ssn_prune.surgery.copying import floating_copy
from ssn_prune.surgery.nested import max_error, tensor_leaves, to_dtype, top1_agreement
from ssn_prune.verification.answers import Outputs, own_answers, run_wide
from ssn_prune.verification.precision import Copier, in_float64
from ssn_prune.verification.results import RoundingCheck
from ssn_prune.verification.session import open_session, runtime_error
from ssn_prune.verification.taps import Recording, run_with_taps

ERROR_FACTOR = 4.0
SCALE_FACTOR = 1e-6


def rounding_bound(original_error: float, scale: float) -> float:
    """4 x the original's own float32 error + 1e-6 x the largest reference value."""
    return ERROR_FACTOR * original_error + SCALE_FACTOR * scale


def check_rounding(
    original: nn.Module,
    path: Path,
    batches: Sequence[tuple[Tensor, ...]],
) -> RoundingCheck:
    """Run the file and the original on the same inputs.

    Args:
        original: The reference; not changed.
        path: The ONNX file.
        batches: Inputs of several calls.

    Returns:
        Errors over all batches together; with several outputs, those of the one that uses most of
        its own bound. Outputs that are not finite never pass.

    Raises:
        CheckpointError: ONNX Runtime cannot load or run the file.
    """

    def check(copied: Copier) -> RoundingCheck:
        wide = copied(original)
        exact = [run_wide(original, wide, batch) for batch in batches]
        found = compare_file(path, batches, exact, own_answers(original, batches))
        if found.passed:
            return found
        return replace(found, first_layer_off=_first_layer_off(original, copied, path, batches[0]))

    return in_float64(check)


def compare_file(
    path: Path, batches: Sequence[tuple[Tensor, ...]], exact: Outputs, own: Outputs
) -> RoundingCheck:
    """As :func:`check_rounding`, where the original has run already, which is not needed any more.

    Args:
        path: The ONNX file.
        batches: Inputs of several calls.
        exact: What the original gives in float64.
        own: What it gives in float32.

    Returns:
        The errors, without a layer to blame.
    """
    release_memory()
    run = _runner(path)
    converted = [run(batch) for batch in batches]
    del run
    outputs = [_OutputErrors() for _ in exact[0]]
    for given, narrow, wide in zip(converted, own, exact, strict=True):
        missing = len(given) != len(wide)
        for index, errors in enumerate(outputs):
            value = torch.empty(0) if missing else given[index]
            errors.add(value, narrow[index], wide[index])
    worst = max(outputs, key=lambda errors: errors.ratio)
    agreements = [
        top1_agreement(given[0], wide[0], undecided=2 * outputs[0].bound)
        for given, wide in zip(converted, exact, strict=True)
        if given[0].shape == wide[0].shape
    ]
    decided = [share for share in agreements if share is not None]
    agreement = min(decided) if decided else None
    return RoundingCheck(
        passed=all(errors.passed for errors in outputs) and agreement in (None, 1.0),
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

    def __init__(self) -> None:
        self.error = self.own_error = self.scale = 0.0

    def add(self, value: Tensor, own: Tensor, exact: Tensor) -> None:
        error, scale = max_error(value, exact)
        self.error = max(self.error, error)
        self.own_error = max(self.own_error, max_error(own, exact)[0])
        self.scale = max(self.scale, scale)

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


def _first_layer_off(
    original: nn.Module, copied: Copier, path: Path, batch: tuple[Tensor, ...]
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
    exact, own = Recording(), Recording()
    run_wide(original, copied(original), batch, values, exact)
    single = floating_copy(original, torch.float32)
    run_with_taps(single, to_dtype(batch, torch.float32), values, own)
    converted = dict(zip(outputs, _runner(path, model)(batch), strict=True))
    for name, reference in exact.values.items():
        if len(reference) != 1:
            continue  # called several times: the stored value is that of one call
        own_error, scale = max_error(own.values[name][0], reference[0])
        error, _ = max_error(converted[values[name]], reference[0])
        if not error <= rounding_bound(own_error, scale):
            return name
    return None
