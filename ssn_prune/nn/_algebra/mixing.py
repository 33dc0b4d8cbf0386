r"""The (N, C) algebra of a switchable layer: pooling the plane moments, mixing, and the gradients.

Means and variances are stacked, (2, G, n, C), so that one operator serves both: a batch of
N = G n samples in G groups that have batch statistics of their own (G = 1 unless workers are
emulated). The moments of LN pool the last axis, those of BN the one before it.

Everything is written with operators that NumPy arrays and tensors share. On the CPU it runs on
NumPy arrays, whose operators cost less than half as much on such small operands; on other devices
it runs on tensors, and the host never waits for them.

Formulas: the docstring of :mod:`ssn_prune.nn.functional`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
import torch
from torch import Tensor

from ssn_prune.nn.statistics import pool
from ssn_prune.nn.variance_kind import FROM_PLANES, OWN_COUNT, bessel
from ssn_prune.normalizer import Normalizer

Array = Any  # np.ndarray or Tensor: what is written here holds for both


class BatchReduction(Protocol):
    """How batch statistics are shared among processes; see training/distributed.py."""

    def pooled(self, moments: Tensor, samples: int) -> tuple[Tensor, float | Tensor]:
        """Pool means and variances (2, ...) over all processes, and count all samples.

        The number of samples stays on the device if reading it would mean waiting.
        """

    def summed(self, gradients: Tensor) -> Tensor:
        """The sum of a tensor over all processes."""


@dataclass(frozen=True)
class NormSettings:
    """The settings of a layer, which do not depend on the input.

    Attributes:
        eps: Added to the variance.
        normalizers: The choices, in the order of the gates' entries.
        correction: The kind of variance; see :mod:`ssn_prune.nn.variance_kind`.
        groups: Number of equal consecutive parts of the batch that have batch statistics of their
            own, as if each were on a worker of its own.
        reduction: Shares the batch statistics among processes; None keeps them local.
    """

    eps: float
    normalizers: tuple[Normalizer, ...]
    correction: int = 0
    groups: int = 1
    reduction: BatchReduction | None = None


def rsqrt(values: Array) -> Array:
    """1 / sqrt."""
    return values.rsqrt() if isinstance(values, Tensor) else 1.0 / np.sqrt(values)


class MomentMixture:
    """Mean and variance of each offered normalizer, their mixture, and its gradients.

    Args:
        planes: Means and variances of the planes, (2, G, n, C). The variances are corrected if
            those of LN and BN follow from corrected ones.
        running: BN's constants (2, C), if it does not use the batch's own statistics.
        settings: The settings of the layer.
        positions: M, the positions of a plane.

    Attributes:
        of: Means and variances of each normalizer, broadcastable to (2, G, n, C).
        batch: Mean and variance of the batch, (2, C), averaged over the groups; None without them.
    """

    def __init__(
        self, planes: Array, running: Array | None, settings: NormSettings, positions: int
    ) -> None:
        self.settings = settings
        self.positions = positions
        self.planes = planes
        self.static = running is not None
        self.batch: Array | None = None
        self.of: list[Array] = []
        self._deviations: list[Array | None] = []  # of the plane means from the pooled mean
        # 1 / number of planes that were pooled; None for constants.
        self._shares: list[float | Tensor | None] = []
        # Number of values behind each variance, and the factor that corrects a biased one.
        self._counts: list[int | Tensor | None] = []
        self._factors: list[float | Tensor] = []
        for normalizer in settings.normalizers:
            if normalizer is Normalizer.IN:
                self._append(planes, None, 1.0, positions)
            elif normalizer is Normalizer.LN:
                pooled, deviation = pool(planes, _CHANNELS - 1)
                channels = planes.shape[_CHANNELS]
                self._append(pooled, deviation, 1.0 / channels, positions * channels)
            elif running is not None:
                self._append(running.reshape(2, 1, 1, -1), None, None, None)
            else:
                self._append(*self._pool_batch())
                self.batch = self._mean_of_groups(self.of[-1])

    def _append(
        self,
        moments: Array,
        deviation: Array | None,
        share: float | Tensor | None,
        count: int | Tensor | None,
    ) -> None:
        factor: float | Tensor = 1.0
        if self.settings.correction == OWN_COUNT and count is not None:
            factor = count / (count - 1) if isinstance(count, Tensor) else bessel(count)
            moments = stack(moments[0], moments[1] * factor)
        self.of.append(moments)
        self._deviations.append(deviation)
        self._shares.append(share)
        self._counts.append(count)
        self._factors.append(factor)

    @staticmethod
    def _mean_of_groups(moments: Array) -> Array:
        return moments[:, 0, 0] if moments.shape[1] == 1 else moments.mean(1)[:, 0]

    def _pool_batch(self) -> tuple[Array, Array, float | Tensor, int | Tensor]:
        samples = self.planes.shape[_SAMPLES]
        pooled, deviation = pool(self.planes, _SAMPLES - 1)
        share: float | Tensor = 1.0 / samples
        count: Any = samples
        reduction = self.settings.reduction
        if reduction is not None:
            shared, count = reduction.pooled(_as_tensor(pooled), samples)
            pooled = _as_like(shared, pooled)
            deviation, share = self.planes[0] - pooled[0], 1.0 / count
        return pooled, deviation, share, self.positions * count

    def undefine(self, ratios: Array) -> None:
        """Make a corrected variance of one value, which is 0/0, NaN where its ratio is not zero.

        A layer that does not use this variance must not get its NaN.
        """
        for k, normalizer in enumerate(self.settings.normalizers):
            if (normalizer is Normalizer.BN and self.static) or not self._is_undefined(k):
                continue
            mean, var = self.of[k][0], self.of[k][1]
            if isinstance(var, Tensor):
                nan = torch.full_like(var, float("nan"))
                self.of[k] = stack(mean, torch.where(ratios[1, k] == 0, torch.zeros_like(var), nan))
            else:
                self.of[k] = stack(
                    mean, np.where(ratios[1, k] == 0, 0.0, np.full_like(var, np.nan))
                )

    def _is_undefined(self, k: int) -> bool:
        if self.settings.correction == FROM_PLANES:
            return self.positions == 1
        count = self._counts[k]
        return isinstance(count, int) and count == 1

    def mixed(self, ratios: Array, used: Sequence[bool]) -> Array:
        """The mixed mean and variance, broadcastable to (2, G, n, C).

        Args:
            ratios: (2, K).
            used: False for a normalizer whose ratios are known to be zero.
        """
        total, columns = None, _columns(ratios)
        for k, moments in enumerate(self.of):
            if used[k]:
                term = moments * columns[k]
                total = term if total is None else total + term
        return self.planes * 0.0 if total is None else total

    def backward(
        self, ratios: Array, used: Sequence[bool], gradient: Array, *, gates: bool
    ) -> tuple[list[Array], Array]:
        """Pass on the gradient of the mixed mean and variance.

        Args:
            ratios: (2, K).
            used: False for a normalizer whose ratios are known to be zero.
            gradient: (2, G, n, C).
            gates: Whether the ratios need gradients.

        Returns:
            The gradients of the mean ratios followed by those of the variance ratios, 2 K scalars
            (empty unless ``gates``), and those of the plane moments, (2, G, n, C).
        """
        to_mean: list[Array] = []
        to_var: list[Array] = []
        total = None
        columns = _columns(ratios)
        for k, normalizer in enumerate(self.settings.normalizers):
            if not gates and not used[k]:
                continue
            pooled = gradient
            if normalizer is not Normalizer.IN:
                pooled = gradient.sum(_axis(normalizer), keepdims=True)
            if gates:
                moments = self.of[k]
                to_mean.append(_dot(moments[0], pooled[0]))
                to_var.append(_dot(moments[1], pooled[1]))
            deviation, share = self._deviations[k], self._shares[k]
            if share is None or not used[k]:
                continue
            if normalizer is Normalizer.BN and self.settings.reduction is not None:
                pooled = _as_like(self.settings.reduction.summed(_as_tensor(pooled)), pooled)
            pooled = pooled * (columns[k] * share)
            if self.settings.correction == OWN_COUNT:
                pooled[1] *= self._factors[k]
            if deviation is None:  # of the planes themselves
                total = pooled if total is None else total + pooled
                continue
            total = gradient * 0.0 if total is None else total
            total += pooled
            total[0] += deviation * (pooled[1] * 2.0)
        return to_mean + to_var, gradient * 0.0 if total is None else total


_CHANNELS, _SAMPLES = 3, 2


def _columns(ratios: Array) -> Array:
    """Ratios (2, K), for row k to broadcast over moments, (2, G, n, C)."""
    return ratios.T.reshape(-1, 2, 1, 1, 1)


def _axis(normalizer: Normalizer) -> int:
    return _CHANNELS if normalizer is Normalizer.LN else _SAMPLES


def stack(mean: Array, var: Array) -> Array:
    """Mean and variance as one array."""
    if isinstance(mean, Tensor):
        return torch.stack((mean, var))
    both = np.empty((2, *mean.shape))
    both[0], both[1] = mean, var
    return both


def _dot(a: Array, b: Array) -> Array:
    # Not np.vdot: BLAS divides it among threads of its own, which spin while torch's compute.
    return (a * b).sum()


def _as_tensor(values: Array) -> Tensor:
    return values if isinstance(values, Tensor) else torch.from_numpy(values)


def _as_like(values: Tensor, like: Array) -> Array:
    return values if isinstance(like, Tensor) else values.numpy()
