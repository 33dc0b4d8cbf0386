"""What folds do to the numbers of a kernel: whether they still fit their precision.

Several folds may meet in one kernel, so the numbers after each are remembered.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from ssn_prune.nn.axes import channel_weight
from ssn_prune.nn.switchable import SwitchableNorm
from ssn_prune.normalizer import Normalizer, NormalizerPair
from ssn_prune.pruning.centring import NEARLY_CONSTANT
from ssn_prune.pruning.folds.affine import Affine, static_affine
from ssn_prune.pruning.folds.algebra import (
    folded_bias,
    is_normal,
    scale_input_channels,
    shifted_by_inputs,
    static_scale,
)
from ssn_prune.pruning.folds.kernel import Kernel, tensor_at
from ssn_prune.pruning.forms import FoldKind


@dataclass(frozen=True)
class _Numbers:
    """Largest weight of each output channel and bias, float64, and how they will be stored."""

    peaks: Tensor
    bias: Tensor
    dtype: torch.dtype


class KernelNumbers:
    """The numbers of all kernels after the folds so far.

    Args:
        model: The network; not changed.
    """

    def __init__(self, model: nn.Module) -> None:
        self.model = model
        self.known: dict[str, _Numbers] = {}

    def fold_back(
        self,
        kernel: Kernel,
        module: SwitchableNorm,
        pair: NormalizerPair,
        kind: FoldKind,
        affine: Affine,
    ) -> str | None:
        """Note a fold into the convolution in front, or say why the numbers do not fit.

        Args:
            kernel: What is edited.
            module: The layer.
            pair: What it selected.
            kind: What moves.
            affine: The layer's weight and bias together with what it absorbs.
        """
        if kind is FoldKind.CENTRE or module.running_mean is None or module.running_var is None:
            return None
        numbers = self._of(kernel, module.num_features)
        scale, shift = torch.ones_like(module.running_var, dtype=torch.float64), None
        if kind is not FoldKind.MEAN:
            weight = channel_weight(module) if affine[0] is None else affine[0]
            scale = static_scale(weight, module.running_var, module.eps)
            shift = affine[1] if kind is FoldKind.ALL else None
        if pair.mean is Normalizer.LN and not _undoable(scale, numbers.dtype):
            return "a folded scale is zero or not a normal number, so it could not be undone"
        bias = folded_bias(numbers.bias, mean=module.running_mean, scale=scale, shift=shift)
        assert bias is not None  # there is a mean
        return self._note(kernel, _Numbers(numbers.peaks * scale.abs(), bias, numbers.dtype))

    def fold_forward(self, kernel: Kernel, module: SwitchableNorm, affine: Affine) -> str | None:
        """Note a fold into the convolution behind, or say why it would cost accuracy."""
        if module.running_mean is None or module.running_var is None:
            return "it has no running statistics"
        deviation = (module.running_var.double() + module.eps).sqrt()
        if bool((module.running_mean.double().abs() > NEARLY_CONSTANT * deviation).any()):
            return (
                "a channel's mean is many deviations from zero, so that its sums in the "
                "convolution behind it would lose accuracy"
            )
        weight = tensor_at(self.model, kernel.weight)
        assert weight is not None  # a kernel has a weight
        scale, shift = static_affine(module, affine)
        numbers = self._of(kernel, weight.shape[0])
        before = _peaks(weight)
        after = _peaks(scale_input_channels(_tap_peaks(weight), scale, groups=kernel.groups))
        growth = torch.where(before > 0, after / before.clamp(min=1e-300), 0.0)
        added = shifted_by_inputs(weight, shift, groups=kernel.groups)
        folded = _Numbers(numbers.peaks * growth, numbers.bias + added, numbers.dtype)
        return self._note(kernel, folded)

    def _of(self, kernel: Kernel, channels: int) -> _Numbers:
        known = self.known.get(_key(kernel))
        if known is not None:
            return known
        weight, bias = tensor_at(self.model, kernel.weight), tensor_at(self.model, kernel.bias)
        assert weight is not None  # a kernel has a weight
        peaks = _peaks(weight)
        if kernel.transposed:
            peaks = peaks.amax().expand(channels)
        zeros = torch.zeros(channels, dtype=torch.float64, device=weight.device)
        return _Numbers(peaks, zeros if bias is None else bias.double(), weight.dtype)

    def _note(self, kernel: Kernel, numbers: _Numbers) -> str | None:
        limit = torch.finfo(numbers.dtype).max
        for values, name in ((numbers.peaks, "weight"), (numbers.bias, "bias")):
            if not bool((values.abs() <= limit).all()):
                return f"a folded {name} overflows {numbers.dtype}"
        self.known[_key(kernel)] = numbers
        return None


def _key(kernel: Kernel) -> str:
    return f"{kernel.weight.module}.{kernel.weight.attribute}"


def _peaks(weight: Tensor) -> Tensor:
    """The largest magnitude of each row, float64."""
    low, high = weight.flatten(1).aminmax(dim=1)
    return torch.maximum(high, -low).double()


def _tap_peaks(weight: Tensor) -> Tensor:
    """The largest magnitude of each row and column of a kernel, (rows, columns)."""
    low, high = weight.unsqueeze(-1).flatten(2).aminmax(dim=2)
    return torch.maximum(high, -low)


def _undoable(scale: Tensor, dtype: torch.dtype) -> bool:
    """Whether a scale can be folded and its inverse used behind it (LN mean, BN variance)."""
    inverse = 1 / (scale.numel() * scale)
    return is_normal(scale, dtype) and is_normal(inverse, dtype)
