"""Capture: run ``torch.export`` once and record the producer and consumers of every layer.

The planner needs plain records, not graphs.
"""

from __future__ import annotations

import math
import time
from typing import Any

import torch
from torch import Tensor, nn
from torch.fx.experimental.symbolic_shapes import GuardOnDataDependentSymNode
from torch.overrides import TorchFunctionMode

from ssn_prune.errors import first_line
from ssn_prune.pruning.capture.dynamic_shapes import dynamic_axes, dynamic_shapes
from ssn_prune.pruning.capture.fx_utils import CapturedProgram
from ssn_prune.pruning.capture.graph_reader import GraphRecords, read_program
from ssn_prune.pruning.capture.marked_model import mark_layers
from ssn_prune.pruning.capture.partial import read_parts
from ssn_prune.pruning.capture.records import Capture, ParameterOwner
from ssn_prune.pruning.capture.size_conditions import SizeGuard, size_guards
from ssn_prune.pruning.capture.suppress_output import suppress_tracer_output
from ssn_prune.pruning.capture.tensor_identity import memory_ids
from ssn_prune.surgery.collector import collector_paused
from ssn_prune.surgery.nested import clone_tensors

DYNAMIC_SIZES_SECONDS = 30.0
"""Limit of the thread's CPU time. Dynamic sizes cost a second or two, but windowed attention makes
the algebra of sizes explode (MaxViT: over ten minutes). Past the limit the capture starts again
with the fixed sizes of the example."""


class _Deadline(TorchFunctionMode):
    """Ends a capture that takes too long, at its next call of torch."""

    def __init__(self, seconds: float) -> None:
        super().__init__()
        self.end = time.thread_time() + seconds

    def __torch_function__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Any = None
    ) -> Any:
        del types
        if time.thread_time() > self.end:
            raise TimeoutError("a capture with dynamic sizes takes too long")
        return func(*args, **(kwargs or {}))


def capture(
    model: nn.Module, example_inputs: tuple[Any, ...], *, fixed_sizes: bool = False
) -> Capture:
    """Capture ``model`` in evaluation mode. ``model`` itself is not changed.

    Sizes are dynamic where the network allows it, so that the conditions on them become known. The
    numbers of positions in the result are those of the example.

    Args:
        model: A network with switchable layers.
        example_inputs: Positional inputs of one call.
        fixed_sizes: Make only the batch size dynamic, which is several times as fast. The result
            then holds for the other sizes of the example only.

    Returns:
        The records. If torch.export cannot trace the network, ``error`` says why, and the records
        are those of the largest submodules that it can trace.
    """
    marked = mark_layers(model)
    memory = memory_ids(marked)
    records = GraphRecords()
    error: str | None = None
    parts: tuple[str, ...] = ()
    guards: tuple[SizeGuard, ...] = ()
    try:
        program = _export(marked, example_inputs, fixed_sizes=fixed_sizes)
    # torch.export raises whatever the traced code or the tracer raises; every such failure means
    # the same thing here, and its text is kept for the report.
    except Exception as raised:  # noqa: BLE001
        error = f"{type(raised).__name__}: {first_line(raised)}"
        parts = read_parts(records, model, marked, example_inputs, memory)
    else:
        read_program(records, CapturedProgram(program, marked, memory), marked)
        guards = size_guards(program, marked, example_inputs)
    return Capture(
        calls={name: tuple(calls) for name, calls in records.calls.items()},
        uses=dict(records.uses),
        owners=_owners(marked, memory),
        operators={} if error else dict(records.operators),
        guards=guards,
        error=error,
        parts=parts,
    )


def _export(
    marked: nn.Module, inputs: tuple[Any, ...], *, fixed_sizes: bool
) -> torch.export.ExportedProgram:
    with suppress_tracer_output(), collector_paused():
        for spatial in (False,) if fixed_sizes else (True, False):
            try:
                own = clone_tensors(inputs)  # the tracer attaches attributes to these tensors
                shapes = dynamic_shapes(marked, inputs, _all_axes if spatial else _batch_axis)
                with _Deadline(DYNAMIC_SIZES_SECONDS if spatial else math.inf):
                    return torch.export.export(marked, own, dynamic_shapes=shapes)
            except GuardOnDataDependentSymNode:
                raise  # the code depends on values: fixed sizes would not help
            except Exception:  # noqa: BLE001  # some code can be captured at fixed sizes only
                continue
        return torch.export.export(marked, clone_tensors(inputs))


def _all_axes(tensor: Tensor) -> dict[int, Any]:
    return dict.fromkeys(dynamic_axes(tensor), torch.export.Dim.AUTO)


def _batch_axis(tensor: Tensor) -> dict[int, Any]:
    return {0: torch.export.Dim.AUTO} if tensor.dim() else {}


def _owners(marked: nn.Module, memory: dict[int, int]) -> dict[int, tuple[ParameterOwner, ...]]:
    owners: dict[int, tuple[ParameterOwner, ...]] = {}
    for path, module in marked.named_modules():
        for attribute, tensor in [*module._parameters.items(), *module._buffers.items()]:
            if tensor is not None:
                key = memory[id(tensor)]
                owners[key] = (*owners.get(key, ()), ParameterOwner(path, attribute))
    return owners
