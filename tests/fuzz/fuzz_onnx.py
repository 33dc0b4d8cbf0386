"""The check in the runtime: pruned networks of many graphs in one file.

An export takes a second, however small the network is. So the networks of up to ``BUNDLE`` graphs
with the same batch size become one file, with an input for each. A bundle that fails is split, so
that a failure names its graph. A dynamic batch makes an export several times as slow, so only some
small bundles have one, and only some are exported twice.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import onnxruntime
import torch
from fuzz_checks import Checked
from fuzz_outcome import FuzzError, Outcome
from fuzz_rounding import check_with_conditioning, errors_of
from torch import Tensor, nn

from ssn_prune import ExportOptions, export_onnx

BUNDLE = 5
OPEN_EVERY, OPEN_SIZE = 5, 8
REPEAT_EVERY = 4
LEVELS = ("ORT_DISABLE_ALL", "ORT_ENABLE_ALL")


class _Bundle(nn.Module):
    """Networks side by side."""

    def __init__(self, networks: Iterable[nn.Module]) -> None:
        super().__init__()
        self.networks = nn.ModuleList(networks)

    def forward(self, inputs: tuple[Tensor, ...]) -> tuple[Any, ...]:
        return tuple(network(x) for network, x in zip(self.networks, inputs, strict=True))


def check_in_runtime(checked: Iterable[Checked]) -> Outcome:
    """Check the float32 bound in ONNX Runtime, and that repeated exports are byte-identical.

    Args:
        checked: Graphs that passed in torch.

    Raises:
        GraphError: A graph fails; it comes from the smallest failing bundle.
    """
    outcome = Outcome()
    for bundle in _bundles(checked):
        hundred = bundle[0].graph.seed // 100_000
        open_batch = hundred % OPEN_EVERY == 0 and len(bundle) <= OPEN_SIZE
        try:
            _check_bundle(outcome, bundle, open_batch, twice=hundred % REPEAT_EVERY == 0)
        except Exception:  # which one was it?
            for single in bundle:
                check_one_in_runtime(single, outcome)
            raise
        outcome.in_runtime += len(bundle)
    return outcome


def check_one_in_runtime(checked: Checked, outcome: Outcome | None = None) -> None:
    """Check one graph.

    Raises:
        GraphError: It fails.
    """
    try:
        _check_bundle(outcome or Outcome(), [checked], open_batch=True, twice=True)
    except FuzzError as failure:
        raise GraphError(checked, failure) from failure
    except Exception as error:
        text = (str(error).splitlines() or [""])[0]
        failure = FuzzError(f"raised {type(error).__name__} in the export", text)
        raise GraphError(checked, failure) from error


class GraphError(Exception):
    """A failure and its graph."""

    def __init__(self, checked: Checked, failure: FuzzError) -> None:
        super().__init__(f"seed {checked.graph.seed}: {failure}")
        self.checked, self.failure = checked, failure


def _bundles(checked: Iterable[Checked]) -> Iterator[list[Checked]]:
    waiting: dict[int, list[Checked]] = {}
    for one in checked:
        if one.pruned is None:
            continue
        alike = waiting.setdefault(one.graph.input_shape[0], [])
        alike.append(one)
        if len(alike) == BUNDLE:
            yield waiting.pop(one.graph.input_shape[0])
    yield from waiting.values()


def _check_bundle(
    outcome: Outcome, bundle: list[Checked], open_batch: bool, *, twice: bool
) -> None:
    network = _Bundle(one.pruned for one in bundle).eval()
    inputs = tuple(one.inputs[0] for one in bundle)
    with TemporaryDirectory() as folder:
        paths = [Path(folder) / name for name in ("first.onnx", "second.onnx")]
        for path in paths[: 1 + twice]:
            options = ExportOptions(dynamic="batch" if open_batch else "none")
            export_onnx(network, (inputs,), path, options=options)
        first = paths[0].read_bytes()
        if twice and first != paths[1].read_bytes():
            raise FuzzError("export", "exporting twice gives different bytes")
    for level in LEVELS:
        session = _session(first, level)
        runs = [_run(session, bundle, index) for index in range(len(bundle[0].inputs))]
        position = 0
        for one in bundle:
            count = len(one.references[0])
            own = [run[position : position + count] for run in runs]
            position += count
            errors = errors_of(own, one.references)
            check_with_conditioning(
                outcome, level, one.graph, errors, one.own_errors, one.inputs, one.references
            )
        if position != len(runs[0]):
            raise FuzzError("export", f"{len(runs[0])} outputs, expected {position}")


def _session(model: bytes, level: str) -> onnxruntime.InferenceSession:
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    options.inter_op_num_threads = 1
    options.log_severity_level = 3
    options.graph_optimization_level = getattr(onnxruntime.GraphOptimizationLevel, level)
    return onnxruntime.InferenceSession(
        model, sess_options=options, providers=["CPUExecutionProvider"]
    )


def _run(session: onnxruntime.InferenceSession, bundle: list[Checked], index: int) -> list[Tensor]:
    names = [value.name for value in session.get_inputs()]
    arrays = [one.inputs[index].numpy() for one in bundle]
    outputs = session.run(None, dict(zip(names, arrays, strict=True)))
    return [torch.from_numpy(output) for output in outputs]
