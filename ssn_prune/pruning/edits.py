"""How a rewrite changes kernels: at once, or each time they are used."""

from __future__ import annotations

from typing import Protocol

import torch
from torch import Tensor

from ssn_prune.surgery.nested import Computed


class Make(Protocol):
    """Makes a new kernel, in a given precision, from the old one."""

    def __call__(self, kernel: Tensor, /, *, dtype: torch.dtype) -> Tensor:
        """Make it."""


class KernelEdits:
    """Kernels change at once and keep their precision."""

    def dtype_behind(self, kernel: Tensor) -> torch.dtype:
        """Precision in which a kernel's convolution adds its bias."""
        return kernel.dtype

    def value(self, kernel: Tensor) -> Tensor:
        """A kernel as it is after the edits so far."""
        return kernel.detach()

    def edit(self, kernel: Tensor, make: Make) -> None:
        """Change a kernel.

        Args:
            kernel: A parameter or buffer of the copy that is rewritten. Its memory may belong to
                another network too, so it gets other memory instead of other values.
            make: Makes its new value.
        """
        kernel.data = make(kernel.detach(), dtype=kernel.dtype)


class DeferredEdits(KernelEdits):
    """Float32 kernels are made anew, in float64, at each use in ``WideArithmetic``.

    Attributes:
        computed: What to give to it.
    """

    def __init__(self) -> None:
        self.computed: dict[int, Computed] = {}

    def dtype_behind(self, kernel: Tensor) -> torch.dtype:  # noqa: ARG002
        """Precision in which a kernel's convolution adds its bias."""
        return torch.float64

    def value(self, kernel: Tensor) -> Tensor:
        """A kernel as it is after the edits so far."""
        known = self.computed.get(id(kernel))
        return super().value(kernel) if known is None else known.value()

    def edit(self, kernel: Tensor, make: Make) -> None:
        """Change a kernel; one in float64 at once."""
        if kernel.dtype is torch.float64:
            super().edit(kernel, make)
            return
        known = self.computed.get(id(kernel))
        old = kernel.detach if known is None else known.value
        self.computed[id(kernel)] = Computed(kernel, lambda: make(old(), dtype=torch.float64))
