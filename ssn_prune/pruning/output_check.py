"""Check that the network computes the same once its layers are replaced.

The plan knows the layers but not the code around them, which may depend on the class of a layer, on
its attributes or on the number of parameters.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from ssn_prune.errors import UnsupportedLayerError, first_line
from ssn_prune.pruning.plan import Plan
from ssn_prune.pruning.rewrite import rewrite
from ssn_prune.surgery.float64 import float64_arithmetic, float64_copy
from ssn_prune.surgery.nested import relative_error, tensor_leaves, to_dtype

OUTPUT_TOLERANCE = 1e-11
"""Largest allowed difference in float64, relative to the largest value."""


def require_same_outputs(original: nn.Module, plan: Plan, inputs: tuple[Any, ...]) -> None:
    """Run a float64 copy before and after the plan is applied to it, and compare the outputs.

    Where an operator does not compute in float64, only shapes and the places of NaN and infinity
    are compared. A network that cannot run in float64 is not checked.

    Args:
        original: The network that was pruned; not changed.
        plan: The plan.
        inputs: Inputs of one call.

    Raises:
        UnsupportedLayerError: The outputs differ, or the code no longer runs.
    """
    wide = float64_copy(original)
    try:
        expected, exact = _run(wide, inputs)
    # What cannot run in float64 is not compared here.
    except Exception:  # noqa: BLE001
        return
    try:
        found, _ = _run(rewrite(plan, wide), inputs)
    # The network's code may look for an attribute of a layer, and can raise anything.
    except Exception as error:
        raise _depends_on_layers(f"{type(error).__name__}: {first_line(error)}") from error
    if len(found) != len(expected) or not all(map(_alike, found, expected)):
        raise _depends_on_layers(
            "outputs of another shape, or with NaN or infinity in other places"
        )
    finite = ([t[t.isfinite()] for t in outputs] for outputs in (found, expected))
    difference = relative_error(*finite)
    if exact and not difference <= OUTPUT_TOLERANCE:
        raise _depends_on_layers(f"outputs that differ by {difference:.2g} of scale in float64")


def _run(model: nn.Module, inputs: tuple[Any, ...]) -> tuple[list[Tensor], bool]:
    """Strided tensors of the output, and whether everything was computed in float64."""
    with torch.no_grad(), float64_arithmetic() as precision:
        outputs = tensor_leaves(model(*to_dtype(inputs, torch.float64)))
    strided = [output.detach().clone() for output in outputs if output.layout is torch.strided]
    return strided, precision.narrow_operator is None


def _alike(value: Tensor, expected: Tensor) -> bool:
    """Whether the shapes are equal, and NaN and the same infinities are in the same places."""
    if value.shape != expected.shape:
        return False
    finite = value.isfinite() & expected.isfinite()
    undefined = value.isnan() & expected.isnan()
    return bool((finite | undefined | (value == expected)).all())


def _depends_on_layers(found: str) -> UnsupportedLayerError:
    return UnsupportedLayerError(
        "the network computes something else once its switchable layers are replaced",
        expected="the same outputs from the pruned network",
        found=found,
        hint="look for code that asks for the class of a layer, for its attributes or for the "
        "network's parameters, and let it work with other layers, too",
    )
