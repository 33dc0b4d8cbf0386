"""Checks in float64 that do not need every weight in float64 at a time."""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol, TypeVar

import torch
from torch import nn

from ssn_prune.surgery.copying import floating_copy, wide_copy


class Check(Protocol):
    """The outcome of a check."""

    @property
    def passed(self) -> bool:
        """Whether it passed."""


CheckT = TypeVar("CheckT", bound=Check)


Copier = Callable[[nn.Module], nn.Module]
"""Copies a network for ``WideArithmetic``."""


def in_float64(check: Callable[[Copier], CheckT]) -> CheckT:
    """Run a check that makes float64 copies of networks.

    Args:
        check: The check. First the function that it is given makes copies that take no memory.
            Code that torch's functions do not see (compiled extensions) may be handed float32
            kernels beside float64 values then and fail or lose accuracy, so a check that does not
            pass runs once more on copies of every tensor.
    """
    try:
        outcome = check(wide_copy)
        if outcome.passed:
            return outcome
    except (RuntimeError, TypeError, ValueError):
        pass  # if copies are not the reason, it is raised again
    return check(lambda model: floating_copy(model, torch.float64))
