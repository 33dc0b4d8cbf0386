"""Whose limit a failure is: the same step on the network as its library builds it, without SSN.

A step that fails there too is not ours, and one line that needs nothing of ours reproduces it. A
step that works there is taken for ours.
"""

from __future__ import annotations

import tempfile
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import onnxruntime
import torch
from sweep_models import Inputs, build, torchvision_arguments
from sweep_outcome import Limit, Reason
from torch import Tensor, nn
from torch.utils import _pytree as pytree

from ssn_prune.errors import first_line


@dataclass(frozen=True)
class Blame:
    """Whose limit a failure is, and how to see it."""

    limit: Limit
    reproduction: str


_FIXED = {
    Reason.TIMEOUT: Limit.MACHINE,
    Reason.MEMORY: Limit.MACHINE,
    Reason.BUILD: Limit.ARCHITECTURE,
    Reason.NEEDS_DATA: Limit.ARCHITECTURE,
    Reason.SETUP: Limit.ARCHITECTURE,
}


def own_reproduction(name: str) -> str:
    return f"python tests/sweep/sweep_architectures.py {name}"


def blame_without_run(name: str, reason: Reason) -> Blame:
    """For failures that no second run explains."""
    return Blame(_FIXED.get(reason, Limit.OURS), own_reproduction(name))


def blame(name: str, reason: Reason, inputs: Inputs | None, *, steady: bool) -> Blame:
    """Try the failed step without us.

    Args:
        name: Of the network.
        reason: How it failed.
        inputs: What it was fed; None if it did not come that far.
        steady: Whether the network keeps the noise of rounding small.
    """
    if reason in (Reason.ALGEBRA, Reason.ROUNDING) and not steady:
        return Blame(Limit.ARCHITECTURE, own_reproduction(name))
    if reason not in (Reason.CAPTURE, Reason.EXPORTER, Reason.RUNTIME) or inputs is None:
        return blame_without_run(name, reason)
    example = inputs.make(2, 0)
    code = f"net, x = {_source(name)}.eval(), {inputs.source()}; "
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # the exporters' notes on themselves
        network = build(name)
        error = _failure(lambda: torch.export.export(network, example))
        if error:
            return Blame(Limit.CAPTURE, f"{code}torch.export.export(net, x)  # {error}")
        if reason is Reason.CAPTURE:
            return blame_without_run(name, reason)
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / "model.onnx"
            error = _failure(lambda: _export(network, example, path))
            call = "torch.onnx.export(net, x, 'm.onnx', dynamo=True)"
            if error:
                return Blame(Limit.EXPORTER, f"{code}{call}  # {error}")
            error = _failure(lambda: _run(path, example))
    if reason is Reason.RUNTIME and error:
        return Blame(
            Limit.RUNTIME, f"{code}{call}; onnxruntime.InferenceSession('m.onnx')  # {error}"
        )
    return blame_without_run(name, reason)


def _failure(step: Callable[[], Any]) -> str:
    """How a step of a foreign library fails; empty if it works."""
    try:
        step()
    # Exporters and runtimes have no common base for what they raise.
    except Exception as error:  # noqa: BLE001
        return f"{type(error).__name__}: {first_line(error)}"
    return ""


def _export(network: nn.Module, example: tuple[Any, ...], path: Path) -> None:
    torch.onnx.export(network, example, path, dynamo=True, opset_version=18, verbose=False)


def _run(path: Path, example: tuple[Any, ...]) -> None:
    session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    arrays = [leaf.numpy() for leaf in pytree.tree_leaves(example) if isinstance(leaf, Tensor)]
    names = [value.name for value in session.get_inputs()]
    session.run(None, dict(zip(names, arrays, strict=True)))


def _source(name: str) -> str:
    library, _, rest = name.partition(":")
    if library == "timm":
        return f"timm.create_model({rest!r})"
    arguments = ", ".join(f"{key}={value!r}" for key, value in torchvision_arguments(rest).items())
    return f"torchvision.models.get_model({rest!r}, {arguments})"
