"""How a rewrite changes kernels."""

from __future__ import annotations

from typing import Protocol

import torch
from torch import Tensor


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
