"""Does the network with layers of ssn_prune compute what the given one does?

Taking over another implementation's layers means trusting the names of their tensors. Whether that
was right is measured: the network as it was built and loaded, soft gates included, and the adopted,
unpruned one both run in float64. Their outputs must agree, at the end and at every call of every
switchable layer, within the bounds of :mod:`ssn_prune.surgery.rounding_bounds`.
"""

from __future__ import annotations

import contextlib
import functools
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor, nn

from ssn_prune.errors import (
    ArgumentError,
    OutputError,
    SsnPruneError,
    UnsupportedLayerError,
    first_line,
)
from ssn_prune.nn.switchable import SwitchableNorm
from ssn_prune.surgery._shared_parameters import run_float32_copy
from ssn_prune.surgery.adoption_bounds import Errors, judged
from ssn_prune.surgery.adoption_errors import cannot_run, require_same_kind
from ssn_prune.surgery.difference import difference_at
from ssn_prune.surgery.float64 import (
    as_reference_in_float64,
    float64_arithmetic,
    float64_copy,
)
from ssn_prune.surgery.nested import relative_error, tensor_leaves, to_dtype
from ssn_prune.surgery.output_hooks import (
    ComparedOutputs,
    OutputHook,
    SpilledOutputs,
    run_with_output_hooks,
)
from ssn_prune.surgery.repeated_runs import Repeated, run_repeatedly
from ssn_prune.surgery.results import AdoptionCheck
from ssn_prune.surgery.rounding_bounds import FLOAT64_TOLERANCE, float32_bound, float64_bound
from ssn_prune.surgery.undefined import require_defined
from ssn_prune.surgery.unreached import compare_unreached


def check_reference(
    given: nn.Module | None,
    adopted: nn.Module,
    inputs: tuple[Any, ...],
    *,
    allow_unverified: bool = False,
) -> AdoptionCheck:
    """Run the reference of a conversion and compare it with what is pruned.

    Args:
        given: The network as it was built and loaded, if it has layers of another implementation;
            not changed.
        adopted: The network with layers of ssn_prune; not changed.
        inputs: Inputs of one call.
        allow_unverified: Accept code that cannot run here.

    Returns:
        What was found.

    Raises:
        ArgumentError: Neither network runs on these inputs, and that is not accepted.
        UnsupportedLayerError: The networks differ, the reference is not a function of its input, or
            the given network cannot run here.
        VerificationError: The given network gives NaN, with which nothing can be compared.
    """
    layers = [name for name, m in adopted.named_modules() if isinstance(m, SwitchableNorm)]
    if given is None:
        return _run_own(adopted, inputs, allow_unverified)
    with SpilledOutputs() as narrow:
        try:
            own = run_repeatedly(given, inputs, layers, narrow)
        except SsnPruneError:
            raise
        # The given network is the user's code and may raise anything.
        except Exception as error:
            other = _run_own(adopted, inputs, allow_unverified)
            if not allow_unverified:
                raise cannot_run(given, error) from error
            detail = f"{type(error).__name__}: {first_line(error)}"
            return replace(other, reason="code_cannot_run", detail=detail)
        unreached = compare_unreached(
            given, adopted, narrow.layers, FLOAT64_TOLERANCE, allow_unverified=allow_unverified
        )
        check = _compare(given, adopted, inputs, layers, own, narrow)
        return replace(
            check,
            layers_on_noise=unreached.on_noise,
            layers_not_compared=unreached.not_compared,
        )


def _run_own(model: nn.Module, inputs: tuple[Any, ...], allow_unverified: bool) -> AdoptionCheck:
    """Run a network with layers of ssn_prune, for which there is no other code to compare with."""
    try:
        return AdoptionCheck(
            False, "own_layers", changed_buffers=run_repeatedly(model, inputs).changed
        )
    except SsnPruneError:
        raise
    # The network's other modules are the user's code and may raise anything.
    except Exception as error:
        found = f"{type(error).__name__}: {first_line(error)}"
        if allow_unverified:
            return AdoptionCheck(False, "code_cannot_run", found)
        require_same_kind(model, inputs, error)
        shapes = ", ".join("x".join(map(str, leaf.shape)) for leaf in tensor_leaves(inputs))
        raise ArgumentError(
            f"the network cannot run on inputs of size {shapes}",
            expected="inputs that the network was made for, and code that runs on this machine",
            found=found,
            hint="pass `input_size=` with the size of the training inputs, (H, W) or (C, H, W), or "
            "one size for each of several inputs; to `prune`, pass inputs of that size",
        ) from error


def _compare(
    given: nn.Module,
    adopted: nn.Module,
    inputs: tuple[Any, ...],
    layers: list[str],
    own: Repeated,
    narrow: SpilledOutputs,
) -> AdoptionCheck:
    explain = functools.partial(difference_at, given, adopted, inputs)
    base = AdoptionCheck(True, precision="float64", changed_buffers=own.changed)
    with SpilledOutputs() as wide:
        compared = ComparedOutputs(narrow, relative_error)
        try:
            outputs, operator = _run_float64(given, inputs, layers, _both(compared, wide))
        except OutputError:  # of the disk for temporary files
            raise
        # Code that refuses float64 raises whatever it likes.
        except Exception as error:  # noqa: BLE001
            operator = f"{type(error).__name__}: {first_line(error)}"
        if operator is None:
            own_errors = Errors(relative_error(own.outputs, outputs), dict(compared.in_order()))
            found = ComparedOutputs(wide, relative_error)
            with _explained(given):
                mine, _ = _run_float64(adopted, inputs, layers, found)
            require_defined(outputs, found.undefined)
            errors = Errors(relative_error(mine, outputs), dict(found.in_order()))
            return judged(base, given, explain, errors, own_errors, float64_bound)
    base = replace(base, precision="float32", narrow_operator=operator)
    return _compare_in_float32(base, given, adopted, inputs, layers, own.outputs, narrow)


def _compare_in_float32(
    base: AdoptionCheck,
    given: nn.Module,
    adopted: nn.Module,
    inputs: tuple[Any, ...],
    layers: list[str],
    outputs: list[Tensor],
    narrow: SpilledOutputs,
) -> AdoptionCheck:
    """Compare both in float32; the adopted network's own error is measured against float64."""

    def run(copied: nn.Module) -> tuple[list[Tensor], ComparedOutputs]:
        kept.clear()  # this is called again if the network writes to its parameters
        compared = ComparedOutputs(narrow, relative_error)
        single = to_dtype(inputs, torch.float32)
        return run_with_output_hooks(copied, single, layers, _both(compared, kept)), compared

    with SpilledOutputs() as kept:
        with _explained(given):
            mine, compared = run_float32_copy(adopted, run)
        exact = ComparedOutputs(kept, relative_error)
        try:
            wide, _ = _run_float64(adopted, inputs, layers, exact)
            own = Errors(relative_error(mine, wide), dict(exact.in_order()))
        except OutputError:
            raise
        # Code outside of both kinds of layers may refuse float64. Then the constant alone is the
        # bound.
        except Exception:  # noqa: BLE001
            own = Errors(0.0, {})
    require_defined(outputs, compared.undefined)
    errors = Errors(relative_error(mine, outputs), dict(compared.in_order()))
    explain = functools.partial(difference_at, given, adopted, inputs)
    return judged(base, given, explain, errors, own, float32_bound)


def _both(first: OutputHook, second: OutputHook) -> OutputHook:
    def hook(name: str, values: list[Tensor]) -> None:
        first(name, values)
        second(name, values)

    return hook


def _run_float64(
    model: nn.Module, inputs: tuple[Any, ...], layers: list[str], hook: OutputHook
) -> tuple[list[Tensor], str | None]:
    """The output's tensors, and the first operator that was not in float64."""
    copied = as_reference_in_float64(float64_copy(model))
    wide = to_dtype(inputs, torch.float64)
    with float64_arithmetic() as precision:
        outputs = run_with_output_hooks(copied, wide, layers, hook)
    return outputs, precision.narrow_operator


@contextlib.contextmanager
def _explained(given: nn.Module) -> Iterator[None]:
    """Say that the adopted network does not run where the given one does."""
    try:
        yield
    except OutputError:
        raise
    # The given code may call a layer in a way that no other layer supports, and raise anything.
    except Exception as error:
        raise UnsupportedLayerError(
            f"{type(given).__name__} runs with its own layers, but not with those of ssn_prune",
            expected="layers that are called with one tensor (N, C, *) and give one",
            found=f"{type(error).__name__}: {first_line(error)}",
            hint="build the network with SSN or SwitchNorm layers of ssn_prune",
        ) from error
