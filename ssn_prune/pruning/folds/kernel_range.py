"""Whether the values of a kernel still fit their precision after a fold.

Several folds may change one kernel, so the values after each are remembered.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from ssn_prune.pruning.folds.edited_kernel import tensor_at
from ssn_prune.pruning.folds.kernel_arithmetic import (
    folded_bias,
    scale_input_channels,
    shifted_by_inputs,
)
from ssn_prune.pruning.plan import Kernel


@dataclass(frozen=True)
class _Numbers:
    """Largest weight of each output channel, the bias, both float64, and the dtype they get."""

    peaks: Tensor
    bias: Tensor
    dtype: torch.dtype


class KernelRanges:
    """The value ranges of all kernels after the folds so far.

    Args:
        network: The network; not changed.
    """

    def __init__(self, network: nn.Module) -> None:
        self._network = network
        self._known: dict[str, _Numbers] = {}

    def dtype_of(self, kernel: Kernel) -> torch.dtype:
        """The precision of a kernel."""
        return self._weight(kernel).dtype

    def fold_outputs(
        self,
        kernel: Kernel,
        *,
        mean: Tensor,
        scale: Tensor | None = None,
        shift: Tensor | None = None,
    ) -> str | None:
        """Record that a kernel becomes scale W and its bias (b - mean) scale + shift.

        Args:
            kernel: What is edited.
            mean: (C_out,).
            scale: (C_out,), or None for ones.
            shift: (C_out,), or None for zeros.

        Returns:
            Why the numbers do not fit, else None.
        """
        numbers = self._of(kernel, len(mean))
        bias = folded_bias(numbers.bias, mean=mean, scale=scale, shift=shift)
        assert bias is not None  # there is a mean
        peaks = numbers.peaks if scale is None else numbers.peaks * scale.abs()
        return self._note(kernel, _Numbers(peaks, bias, numbers.dtype))

    def fold_inputs(self, kernel: Kernel, *, scale: Tensor, shift: Tensor) -> str | None:
        """Record that a kernel is to take x in the place of x scale + shift.

        Args:
            kernel: What is edited; not transposed.
            scale: (C_in,).
            shift: (C_in,).

        Returns:
            Why the numbers do not fit, else None.
        """
        weight = self._weight(kernel)
        numbers = self._of(kernel, weight.shape[0])
        before = _row_peaks(weight)
        scaled = scale_input_channels(_window_peaks(weight), scale, groups=kernel.groups)
        growth = torch.where(before > 0, _row_peaks(scaled) / before.clamp(min=1e-300), 0.0)
        added = shifted_by_inputs(weight, shift, groups=kernel.groups)
        folded = _Numbers(numbers.peaks * growth, numbers.bias + added, numbers.dtype)
        return self._note(kernel, folded)

    def _weight(self, kernel: Kernel) -> Tensor:
        weight = tensor_at(self._network, kernel.weight)
        assert weight is not None  # every kernel has a weight
        return weight

    def _of(self, kernel: Kernel, channels: int) -> _Numbers:
        known = self._known.get(_key(kernel))
        if known is not None:
            return known
        weight, bias = self._weight(kernel), tensor_at(self._network, kernel.bias)
        peaks = _row_peaks(weight)
        if kernel.transposed:
            peaks = peaks.amax().expand(channels)
        zeros = torch.zeros(channels, dtype=torch.float64, device=weight.device)
        return _Numbers(peaks, zeros if bias is None else bias.double(), weight.dtype)

    def _note(self, kernel: Kernel, numbers: _Numbers) -> str | None:
        limit = torch.finfo(numbers.dtype).max
        for values, name in ((numbers.peaks, "weight"), (numbers.bias, "bias")):
            if not bool((values.abs() <= limit).all()):
                return f"a folded {name} overflows {numbers.dtype}"
        self._known[_key(kernel)] = numbers
        return None


def _key(kernel: Kernel) -> str:
    return f"{kernel.weight.module}.{kernel.weight.attribute}"


def _row_peaks(weight: Tensor) -> Tensor:
    """The largest magnitude of each row, float64."""
    low, high = weight.flatten(1).aminmax(dim=1)
    return torch.maximum(high, -low).double()


def _window_peaks(weight: Tensor) -> Tensor:
    """The largest magnitude of each row and column of a kernel, (rows, columns)."""
    low, high = weight.unsqueeze(-1).flatten(2).aminmax(dim=2)
    return torch.maximum(high, -low)
