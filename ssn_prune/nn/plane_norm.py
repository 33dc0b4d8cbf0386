"""What all trainable normalizers here share: torch's conventions around one computation.

The mathematics is in :mod:`ssn_prune.nn.functional`; a subclass says which normalizers take
part and what their ratios are.
"""

from __future__ import annotations

import math
import warnings
from abc import abstractmethod
from typing import Any

import torch
from torch import Tensor
from torch.nn.modules.batchnorm import _NormBase

from ssn_prune.nn._algebra import BatchReduction, NormSettings
from ssn_prune.nn.axes import require_dims
from ssn_prune.nn.functional import SolvedGates, switchable_norm
from ssn_prune.nn.fused import GateInputs, RunningStatistics, runs_fused, runs_operators, take
from ssn_prune.nn.variance_kind import FROM_PLANES, KINDS, OWN_COUNT
from ssn_prune.normalizer import Normalizer

ONE_POSITION = (
    "IN over one position per channel (a 1x1 map, or (N, C) inputs): its mean is the value itself "
    "and its variance is 0, so a gate that chooses it makes the output 0 or about 1/sqrt(eps) "
    "times as large, and training diverges when gates freeze there. Offer "
    "normalizers=('LN', 'BN') in this layer, or give it larger maps"
)


class PlaneNorm(_NormBase):
    """Base class of the trainable layers. It takes torch's BatchNorm's arguments and two more.

    Args:
        normalizers: The normalizers that take part, in the order IN, LN, BN.
        correction: The kind of variance; see :mod:`ssn_prune.nn.variance_kind`.

    Attributes:
        dims: Numbers of axes that an input may have.
        reduction: Shares batch statistics among processes; see
            :func:`ssn_prune.synchronize`. With None every process has its own.
        warned_of_one_position: Whether training has warned about IN over one position; it does so
            once.
        batch_groups: Number of parts of a batch that have batch statistics of their own. It
            emulates as many workers in one process, and must divide the batch size.
    """

    dims: tuple[int, ...]
    warned_of_one_position = False

    def __init__(
        self,
        num_features: int,
        eps: float,
        momentum: float | None,
        affine: bool,
        track_running_stats: bool,
        *,
        normalizers: tuple[Normalizer, ...],
        correction: int,
        device: torch.device | str | None = None,
        dtype: torch.dtype | None = None,
    ) -> None:
        if correction not in KINDS:
            raise ValueError(
                "correction must be 0 (biased), 1 (Bessel, as in the reference implementation) or "
                f"2 (Bessel, each variance by its own count), got {correction!r}"
            )
        tracked = track_running_stats and Normalizer.BN in normalizers
        super().__init__(num_features, eps, momentum, affine, tracked, device=device, dtype=dtype)
        self.normalizers = normalizers
        self.correction = correction
        self.reduction: BatchReduction | None = None
        self.batch_groups = 1

    @property
    def using_bn(self) -> bool:
        """Whether BN takes part."""
        return Normalizer.BN in self.normalizers

    @abstractmethod
    def _ratios_for(self, input: Tensor) -> tuple[tuple[Tensor, Tensor], SolvedGates | None]:
        """The gates and, where values can be read without waiting, their ratios as numbers.

        See the arguments ``gates`` and ``solved`` of :func:`switchable_norm`.
        """

    def _ratios(self, mean: Tensor, var: Tensor) -> tuple[Tensor, Tensor]:
        """The ratios, differentiable, that follow from the tensors of :meth:`_gate_inputs`."""
        return mean, var

    @abstractmethod
    def _gate_inputs(self) -> GateInputs:
        """The gates, for the kernels."""

    def forward(self, input: Tensor) -> Tensor:
        """Normalize ``input`` of shape (N, C, ...).

        Raises:
            TypeError: The input is not floating-point.
            ValueError: Its shape does not fit, or it is empty, or, in training, a Bessel-corrected
                variance would be over a single value or ``batch_groups`` does not divide the batch.
                In evaluation an empty batch is returned as it is.
        """
        self._check_input_dim(input)
        if not torch.compiler.is_compiling():
            if input.shape[0] == 0 and not self.training:
                return input.clone()
            self._check_input_size(input)
        y = self._normalized(input.unsqueeze(-1) if input.dim() == 2 else input)
        return y.squeeze(-1) if input.dim() == 2 else y

    def _normalized(self, x: Tensor) -> Tensor:
        # Workers and processes share nothing at inference, with or without running statistics.
        groups, reduction = (self.batch_groups, self.reduction) if self.training else (1, None)
        settings = NormSettings(self.eps, self.normalizers, self.correction, groups, reduction)
        y = self._by_kernels(x, settings) if self.training else None
        if y is not None:
            return y
        gates, solved = self._ratios_for(x)
        running_mean, running_var = self.running_mean, self.running_var
        running = None
        if running_mean is not None and running_var is not None and not self.training:
            running = running_mean, running_var
        y, batch = switchable_norm(x, self.weight, self.bias, gates, running, settings, solved)
        if self.training and batch is not None:
            update_running(self, batch)
        return y

    def _by_kernels(self, x: Tensor, settings: NormSettings) -> Tensor | None:
        """A forward pass by the kernels; None if they do not take this input or this layer."""
        eager = runs_fused(x)
        if not eager and not (settings.reduction is None and runs_operators(x)):
            return None
        gates, running = self._gate_inputs(), self._running_statistics()
        tracked = () if running is None else running.tensors()
        if not take(x, self.weight, self.bias, *gates.tensors(), *tracked):
            return None
        if not eager:
            from ssn_prune.nn.fused.traced import traced_norm

            self._require_size(x)  # a compiler skips the other checks
            return traced_norm(x, self.weight, self.bias, gates, running, settings)
        from ssn_prune.nn.fused.autograd import fused_norm

        running = running if settings.reduction is None else None
        y, shared = fused_norm(x, self.weight, self.bias, gates, self._ratios, running, settings)
        if shared is not None:
            update_running(self, shared)
        return y

    def _running_statistics(self) -> RunningStatistics | None:
        mean, var, tracked = self.running_mean, self.running_var, self.num_batches_tracked
        if mean is None or var is None or tracked is None:
            return None
        return RunningStatistics(mean, var, tracked, self.momentum)

    def _check_input_dim(self, input: Tensor) -> None:
        require_dims(input, self.dims, self.num_features)
        if not input.is_floating_point():
            raise TypeError(f"expected a floating input, got {input.dtype}")

    def _check_input_size(self, input: Tensor) -> None:
        self._require_size(input)
        if self.training:
            self._warn_of_one_position(input)

    def _require_size(self, input: Tensor) -> None:
        if input.numel() == 0:
            raise ValueError(f"there is nothing to normalize in an input of {tuple(input.shape)}")
        if self.training:
            self._require_defined(input)
        if self.training and input.shape[0] % self.batch_groups:
            raise ValueError(
                f"a batch of {input.shape[0]} cannot be split into {self.batch_groups} equal groups"
            )

    def _require_defined(self, input: Tensor) -> None:
        """Refuse a Bessel-corrected variance of one value, in training."""
        positions = math.prod(input.shape[2:])
        if self.correction == FROM_PLANES and positions == 1:
            raise ValueError(
                f"Bessel-corrected variance needs at least 2 positions, got {tuple(input.shape)}"
            )
        if self.correction == OWN_COUNT:
            samples, channels = input.shape[0] // self.batch_groups, input.shape[1]
            shared = 2 if self.reduction is not None else samples  # other processes have more
            counts = {Normalizer.IN: 1, Normalizer.LN: channels, Normalizer.BN: shared}
            short = [n.name for n in self.normalizers if positions * counts[n] == 1]
            if short:
                raise ValueError(
                    f"Bessel-corrected variance needs at least 2 values, {' and '.join(short)} has "
                    f"one in {tuple(input.shape)}"
                )

    def _warn_of_one_position(self, input: Tensor) -> None:
        if self.warned_of_one_position or Normalizer.IN not in self.normalizers:
            return
        # Without gradients nothing is trained: only statistics are measured.
        if math.prod(input.shape[2:]) == 1 and torch.is_grad_enabled():
            self.warned_of_one_position = True
            warnings.warn(ONE_POSITION, stacklevel=5)

    def extra_repr(self) -> str:
        """Show the settings as torch's layers do."""
        return f"{_NormBase.extra_repr(self)}, correction={self.correction}"


@torch.no_grad()
def update_running(layer: Any, batch: Tensor) -> None:
    """Update a layer's running statistics with the moments of a batch, in place.

    Args:
        layer: It has torch's ``momentum``, ``running_mean``, ``running_var`` and
            ``num_batches_tracked``; nothing happens if one of the last three is None.
        batch: Mean and variance, (2, C).
    """
    running_mean, running_var = layer.running_mean, layer.running_var
    count: Tensor | None = layer.num_batches_tracked
    if running_mean is None or running_var is None or count is None:
        return
    count.add_(1)
    share: float | Tensor | None = layer.momentum
    if share is None:  # the plain average; computed on the device, so that the host need not wait
        share = count.to(running_mean.dtype).reciprocal()
    running_mean.lerp_(batch[0].to(running_mean.dtype), share)
    running_var.lerp_(batch[1].to(running_var.dtype), share)
