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
from ssn_prune.surgery._shared_parameters import run_float32_copy
from ssn_prune.surgery.float64 import float64_arithmetic, float64_copy
from ssn_prune.surgery.nested import relative_error, tensor_leaves, to_dtype
from ssn_prune.surgery.rounding_bounds import float64_bound, is_rounding


def require_same_outputs(original: nn.Module, plan: Plan, inputs: tuple[Any, ...]) -> None:
    """Run a float64 copy before and after the plan is applied to it, and compare the outputs.

    They may differ by what the network itself loses in float64; see
    :mod:`ssn_prune.surgery.rounding_bounds`. Where an operator does not compute in float64, only
    shapes and the places of NaN and infinity are compared. A network that cannot run in float64 is
    not checked.

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
    if not exact or difference <= float64_bound(0.0):
        return
    own = _float32_error(original, inputs, expected)
    if not is_rounding(difference, float64_bound(own)):
        raise _depends_on_layers(f"outputs that differ by {difference:.2g} of scale in float64")


def _run(model: nn.Module, inputs: tuple[Any, ...]) -> tuple[list[Tensor], bool]:
    """Strided tensors of the output, and whether everything was computed in float64."""
    with torch.no_grad(), float64_arithmetic() as precision:
        outputs = tensor_leaves(model(*to_dtype(inputs, torch.float64)))
    strided = [output.detach().clone() for output in outputs if output.layout is torch.strided]
    return strided, precision.narrow_operator is None


def _float32_error(original: nn.Module, inputs: tuple[Any, ...], expected: list[Tensor]) -> float:
    """The network's own error in float32, where the values are finite in float64."""

    def run(copied: nn.Module) -> list[Tensor]:
        with torch.no_grad():
            outputs = tensor_leaves(copied(*to_dtype(inputs, torch.float32)))
        return [output for output in outputs if output.layout is torch.strided]

    places = [output.isfinite() for output in expected]
    found = run_float32_copy(original, run)
    return relative_error(
        [value[place] for value, place in zip(found, places, strict=True)],
        [value[place] for value, place in zip(expected, places, strict=True)],
    )


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
