"""The outputs of the reference network, in float64 and in float32."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from ssn_prune.errors import CaptureError, OutputError, first_line
from ssn_prune.surgery._shared_parameters import run_float32_copy
from ssn_prune.surgery.float64 import float64_arithmetic
from ssn_prune.surgery.nested import to_dtype
from ssn_prune.surgery.output_hooks import OutputHook, run_with_output_hooks

Outputs = list[list[Tensor]]
"""For each batch, one tensor per output."""


@dataclass(frozen=True)
class ReferenceOutputs:
    """The outputs that a file is compared with.

    Attributes:
        exact: Outputs of the reference in float64.
        float32: Outputs in float32 of the reference and networks equivalent to it, each for all
            batches. The smallest of their errors bounds that of the file.
        selected: Outputs in float32 and in float64 of the network with the selected normalizers,
            before anything is folded. Their distance raises the bound: the file computes these
            formulas. None if it was not run, since few files need it.
    """

    exact: Outputs
    float32: tuple[Outputs, ...]
    selected: tuple[Outputs, Outputs] | None = None


def run_float64(
    wide: nn.Module,
    inputs: tuple[Any, ...],
    names: Iterable[str] = (),
    hook: OutputHook | None = None,
) -> list[Tensor]:
    """Run a float64 copy of a network.

    Args:
        wide: The float64 copy.
        inputs: Inputs of one call.
        names: Modules whose outputs are shown to ``hook``.
        hook: Called with each of these outputs.

    Returns:
        The tensors of the output.

    Raises:
        CaptureError: The network does not run in float64.
        OutputError: The hook cannot write the outputs that it stores.
    """
    try:
        with float64_arithmetic():
            return run_with_output_hooks(wide, to_dtype(inputs, torch.float64), names, hook)
    except OutputError:  # from the hook
        raise
    # The network is the user's code and may raise anything.
    except Exception as error:
        raise CaptureError(
            f"{type(wide).__name__} cannot run in float64, so it cannot be verified",
            expected="operators that compute in float64",
            found=f"{type(error).__name__}: {first_line(error)}",
            hint="leave the checks out, or take out what computes in float32 only",
        ) from error


def float32_outputs(
    model: nn.Module,
    batches: Sequence[tuple[Any, ...]],
    names: Iterable[str] = (),
    hook: OutputHook | None = None,
) -> Outputs:
    """Run a float32 copy of a network on several batches; see :func:`run_float64`."""
    listed = list(names)

    def run(copied: nn.Module) -> Outputs:
        return [
            run_with_output_hooks(copied, to_dtype(batch, torch.float32), listed, hook)
            for batch in batches
        ]

    return run_float32_copy(model, run)
