"""Errors for networks that do not compute what the names of their layers' tensors promise."""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Any

from torch import Tensor, nn

from ssn_prune.errors import ArgumentError, UnsupportedLayerError, first_line
from ssn_prune.surgery.nested import tensor_leaves


def require_same_kind(model: nn.Module, inputs: tuple[Any, ...], error: Exception) -> None:
    """Explain a failure where a network has another precision or device than its inputs.

    Args:
        model: The network.
        inputs: Inputs of one call.
        error: What it raised.

    Raises:
        ArgumentError: They have no precision and device in common.
    """
    own, given = _kinds(model.parameters()), _kinds(tensor_leaves(inputs))
    if own and given and not own & given:
        expected, found = (" and ".join(sorted(kinds)) for kinds in (given, own))
        raise ArgumentError(
            f"the network is in {found}, and its inputs are in {expected}",
            expected=f"parameters in {expected}",
            found=f"{type(error).__name__}: {first_line(error)}",
            hint="let the factory return model.float().cpu(); to `prune`, pass inputs that are "
            "like the parameters of the network",
        ) from error


def _kinds(tensors: Iterable[Tensor]) -> set[str]:
    real = (tensor for tensor in tensors if tensor.is_floating_point())
    return {f"{str(t.dtype).removeprefix('torch.')} on {t.device.type}" for t in real}


def cannot_run(given: nn.Module, error: Exception) -> UnsupportedLayerError:
    """The given network raises where the adopted one runs."""
    found = f"{type(error).__name__}: {first_line(error)}"
    cure = "run it by itself in evaluation mode, on inputs of this size, and fix what raises this"
    if re.search(r"cuda|gpu|nvidia|triton|\bhip\b|kernel|backend|\bdevice", found, re.IGNORECASE):
        cure = "convert where the code runs"
    return UnsupportedLayerError(
        f"{type(given).__name__} cannot run here with its own layers, so what ssn_prune makes of "
        "them cannot be compared with it",
        expected="code that runs on this machine",
        found=found,
        hint=f"{cure}; or pass `allow_unverified_layers=True` to rely on the names of the layers' "
        "tensors",
    )


def layer_differs(
    given: nn.Module,
    name: str,
    error: float,
    allowed: float,
    precision: str,
    difference: str | None,
) -> UnsupportedLayerError:
    """The error for the first layer that differs."""
    kind = type(given.get_submodule(name)).__name__
    return UnsupportedLayerError(
        f"{name or 'the network'} ({kind}) computes something else than the layer of ssn_prune "
        "with its tensors",
        expected=f"equal outputs in {precision} within {allowed:.2g} of scale",
        found=f"outputs that differ by {error:.2g} of scale at this layer, the first that is off",
        hint=cure(difference),
    )


def cure(difference: str | None) -> str:
    """What to do about a layer that computes something else.

    Args:
        difference: What :func:`ssn_prune.surgery.other_formulas.explanation` has found.
    """
    own = "an SSN or SwitchNorm layer of ssn_prune"
    if difference is None:
        return (
            "look for another eps, an activation inside the layer, statistics over other axes or "
            f"another order of the gates; or replace it in your network by {own}"
        )
    if "order" in difference:
        return (
            f"{difference}: sort the entries of mean_weight and var_weight to the order IN, LN, "
            f"BN, and replace it in your network by {own}"
        )
    if difference.startswith("eps is") and difference[7:].replace(".", "")[:1].isdigit():
        return f"{difference}: give the layer an attribute eps of that value"
    if "activation" in difference:
        return f"{difference}: move that into a module of its own after the layer"
    return (
        f"{difference}: if that difference is small enough for you, replace it in your network by "
        f"{own}; else train on with such a layer"
    )


def layer_not_reached(given: nn.Module, name: str) -> UnsupportedLayerError:
    """The error for a layer that the example inputs do not reach and that cannot run on noise."""
    kind = type(given.get_submodule(name)).__name__
    return UnsupportedLayerError(
        f"{name} ({kind}) cannot be compared with what ssn_prune makes of it",
        expected="a layer that the example inputs reach, or that runs on noise",
        found="a layer that was not called with the example inputs and does not run on noise",
        hint="take it out of the network if it is not used; to `prune`, pass inputs that reach it; "
        "or pass `allow_unverified_layers=True` to rely on the names of its tensors",
    )


def output_differs(
    given: nn.Module, error: float, allowed: float, precision: str
) -> UnsupportedLayerError:
    """The error for outputs that differ although every layer agrees."""
    return UnsupportedLayerError(
        f"{type(given).__name__} gives something else with layers of ssn_prune in place of its own",
        expected=f"equal outputs in {precision} within {allowed:.2g} of scale",
        found=f"outputs that differ by {error:.2g} of scale, though every layer agrees",
        hint="look for code that asks for the class of a layer or for its attributes",
    )
