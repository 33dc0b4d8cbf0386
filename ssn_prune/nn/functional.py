r"""The switchable normalizer, forward and backward.

For x of shape (N, C, ...) with M positions, ratios p, q and the moments of
:mod:`ssn_prune.nn.statistics` (SSN, arXiv 1903.03793, equation 3):

.. math::  \mu = \sum_k p_k \mu_k,\quad \sigma^2 = \sum_k q_k \sigma_k^2,\quad
           s = w / \sqrt{\sigma^2 + \epsilon},\quad  y = s (x - \mu) + b .

**Backward.** With g the gradient of y, two sums per plane are enough, T = sum g and
H = sum g (x - mean_in). Then, on (N, C),

.. math::
    D = H + (\mu_{in} - \mu) T, \quad \bar\mu = -s T, \quad
    \bar{\sigma^2} = -\tfrac12 w D (\sigma^2 + \epsilon)^{-3/2},

the gate gradients are :math:`\bar p_k = \langle \mu_k, \bar\mu\rangle` and
:math:`\bar q_k = \langle \sigma_k^2, \bar{\sigma^2}\rangle`. Pooling S planes (C of a sample for
LN, N of a channel for BN) passes gradients u, v of the pooled mean and variance on to each of them:

.. math::  \bar\mu_{in} \mathrel{+}= (u + 2 v (\mu_{in} - \mu_k)) / S, \quad
           \bar{\sigma^2_{in}} \mathrel{+}= v / S ,

and finally, with f = M/(M-1) where all variances follow from corrected plane variances and 1
otherwise (:mod:`ssn_prune.nn.variance_kind`),

.. math::  \bar x = s\,g + \tfrac{2 f}{M} \bar{\sigma^2_{in}} (x - \mu_{in}) + \bar\mu_{in} / M .

The (N, C) part is float64: it costs nothing compared with x, and a gate's gradient is a small
difference of large sums. The passes over x are in :mod:`ssn_prune.nn.planes`, the (N, C) part is in
``_algebra``.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
import torch
from torch import Tensor

from ssn_prune.nn import planes
from ssn_prune.nn._algebra import MomentMixture, NormSettings, rsqrt, stack
from ssn_prune.nn.plain_formula import Normalized, plain_formula
from ssn_prune.nn.planes import Array, bessel_factor, computed, positions_of
from ssn_prune.nn.variance_kind import FROM_PLANES


class SolvedGate(Protocol):
    """A gate whose ratios are known as numbers."""

    @property
    def ratios(self) -> list[float]:
        """One per normalizer."""

    def vector_jacobian(self, gradient: list[float]) -> list[float]:
        """The gradient of the logits, given that of the ratios."""


@dataclass(frozen=True)
class SolvedGates:
    """Both gates of a layer as numbers, which saves a dozen small operators.

    Attributes:
        mean: The mean gate.
        var: The variance gate.
        ratios: The same in operators that can be differentiated: logits (K,) to ratios (K,).
    """

    mean: SolvedGate
    var: SolvedGate
    ratios: Callable[[Tensor, Tensor], tuple[Tensor, Tensor]]


def switchable_norm(
    x: Tensor,
    weight: Tensor | None,
    bias: Tensor | None,
    gates: tuple[Tensor, Tensor],
    running: tuple[Tensor, Tensor] | None,
    settings: NormSettings,
    solved: SolvedGates | None = None,
) -> Normalized:
    """Normalize with given gates.

    Args:
        x: Shape (N, C, ...), at least one position. Half precision is computed in float32.
        weight: Shape (C,), or None for ones.
        bias: Shape (C,), or None for zeros.
        gates: The ratios of the mean gate and of the variance gate, (K,) each; their logits if
            ``solved`` is given.
        running: Mean and variance, both (C,), that BN uses instead of the batch's.
        settings: Everything else.
        solved: The ratios as numbers, where they can be read without waiting.

    Returns:
        The output in the shape and dtype of ``x``; and the batch's mean and variance, (2, C),
        averaged over the groups, or None if ``running`` is given or BN is not offered. They carry
        no gradient.
    """
    running_mean, running_var = (None, None) if running is None else running
    if solved is None and planes.is_traced():  # the compiler fuses the plain formula better
        return plain_formula(x, weight, bias, *gates, running_mean, running_var, settings)
    result: Normalized = _SwitchableNorm.apply(
        x, weight, bias, *gates, running_mean, running_var, settings, solved
    )
    return result


class _SwitchableNorm(torch.autograd.Function):
    """The formulas of the module; saves x and (N, C) values only."""

    @staticmethod
    def forward(
        ctx: Any,
        x: Tensor,
        weight: Tensor | None,
        bias: Tensor | None,
        mean_gate: Tensor,
        var_gate: Tensor,
        running_mean: Tensor | None,
        running_var: Tensor | None,
        settings: NormSettings,
        solved: SolvedGates | None,
    ) -> Normalized:
        work = computed(x)
        samples, channels = x.shape[:2]
        shape = (settings.groups, samples // settings.groups, channels)
        # NaN and infinity pass through without a warning, as they do in torch.
        with np.errstate(all="ignore"):
            z, plane_mean, moments, unit = planes.standardize(work)
            host = isinstance(moments, np.ndarray)
            positions = positions_of(x)
            ratios, used = _ratios(mean_gate, var_gate, solved, host)
            if settings.correction == FROM_PLANES:
                moments[1] *= bessel_factor(positions, settings.correction)
            running = None
            if running_mean is not None and running_var is not None:
                running = planes.to_array(torch.stack((running_mean, running_var)), host)
            algebra = MomentMixture(moments.reshape(2, *shape), running, settings, positions)
            if settings.correction and positions == 1:
                algebra.undefine(ratios)
            mixed = algebra.mixed(ratios, used)
            rstd = rsqrt(mixed[1] + settings.eps)
            scale = rstd if weight is None else rstd * planes.to_array(weight, host)
            subtracted = planes.to_array(plane_mean, host).reshape(shape)
            difference = subtracted - mixed[0]
            shift = difference * scale
            if bias is not None:
                shift += planes.to_array(bias, host)
            factor = scale if isinstance(unit, float) else scale * unit.reshape(shape)
            if factor.shape != shift.shape:  # BN's constants are one value per channel
                factor = factor + shift * 0.0
            y = planes.scale_and_shift_(
                z, planes.to_planes(factor, work), planes.to_planes(shift, work)
            )
            batch = None
            if algebra.batch is not None:
                batch = planes.to_tensor(algebra.batch, work, 2, channels)
                ctx.mark_non_differentiable(batch)
        y = y if work is x else y.to(x.dtype)

        ctx.settings, ctx.solved, ctx.positions = settings, solved, positions
        ctx.algebra = algebra, ratios, used, subtracted, difference, rstd, scale
        ctx.save_for_backward(
            x, weight, bias, mean_gate, var_gate, running_mean, running_var, plane_mean
        )
        return y, batch

    @staticmethod
    def backward(ctx: Any, grad: Tensor, *_: Any) -> tuple[Any, ...]:
        if torch.is_grad_enabled():  # create_graph: the gradient itself is differentiated
            *inputs, running_mean, running_var, _ = ctx.saved_tensors
            found = differentiable_gradients(
                Differentiated(*inputs),
                ctx.needs_input_grad[:5],
                (lambda p, q: (p, q)) if ctx.solved is None else ctx.solved.ratios,
                ctx.settings,
                grad,
                (running_mean, running_var),
            )
            return (*found, *[None] * 4)
        x, weight, bias, mean_gate, _, _, _, plane_mean = ctx.saved_tensors
        settings, solved, positions = ctx.settings, ctx.solved, ctx.positions
        algebra, ratios, used, subtracted, difference, rstd, scale = ctx.algebra
        needs_x, needs_weight, needs_bias, *needs_gates = ctx.needs_input_grad[:5]
        work = x if x.dtype == plane_mean.dtype else x.to(plane_mean.dtype)
        grad = grad.to(work.dtype)
        if work.is_contiguous():
            grad = grad.contiguous()  # sums and means hand out expanded gradients
        channels = x.shape[1]
        shape = difference.shape

        with np.errstate(all="ignore"):
            total, with_x, combine = planes.backward_passes(grad, work, plane_mean)
            total, with_x = total.reshape(shape), with_x.reshape(shape)
            deviation = (difference * total + with_x) * rstd
            gradient = stack(total, deviation)
            sums = gradient.reshape(2, -1, channels).sum(1)
            gradient *= scale
            gradient[0] *= -1.0
            gradient[1] *= rstd * -0.5
            gates, to_planes = algebra.backward(ratios, used, gradient, gates=any(needs_gates))
            grad_x = None
            if needs_x:
                to_planes *= 1.0 / positions
                slope = to_planes[1] * (2.0 * bessel_factor(positions, settings.correction))
                offset = to_planes[0] + slope * (subtracted - algebra.planes[0])
                full = scale if scale.shape == shape else scale + slope * 0.0
                grad_x = combine(*(planes.to_planes(v, work) for v in (full, slope, offset)))
                grad_x = grad_x if work is x else grad_x.to(x.dtype)
            grad_weight = planes.to_tensor(sums[1], weight, channels) if needs_weight else None
            grad_bias = planes.to_tensor(sums[0], bias, channels) if needs_bias else None
            grad_mean, grad_var = _gate_gradients(gates, mean_gate, solved)
        return (grad_x, grad_weight, grad_bias, grad_mean, grad_var, *[None] * 4)


def _ratios(
    mean_gate: Tensor, var_gate: Tensor, solved: SolvedGates | None, host: bool
) -> tuple[Array, list[bool]]:
    """Ratios (2, K), and which normalizers may have a ratio other than zero."""
    if solved is None and not host:
        return planes.to_array(torch.stack((mean_gate, var_gate)), host), [True] * len(mean_gate)
    if solved is not None:
        rows = solved.mean.ratios, solved.var.ratios
    else:
        rows = mean_gate.tolist(), var_gate.tolist()
    return np.array(rows), [p != 0 or q != 0 for p, q in zip(*rows, strict=True)]


def _gate_gradients(
    values: list[Array], gate: Tensor, solved: SolvedGates | None
) -> tuple[Tensor | None, Tensor | None]:
    if not values:
        return None, None
    if isinstance(values[0], Tensor):
        both = torch.stack(values).to(gate.dtype).view(2, -1)
        return both[0], both[1]
    size = len(values) // 2
    mean, var = [float(value) for value in values[:size]], [float(value) for value in values[size:]]
    if solved is not None:
        mean, var = solved.mean.vector_jacobian(mean), solved.var.vector_jacobian(var)
    return planes.to_tensor(np.array(mean), gate, size), planes.to_tensor(np.array(var), gate, size)


@dataclass(frozen=True)
class Differentiated:
    """The inputs with respect to which gradients are taken.

    Attributes:
        x: (N, C, ...).
        weight: (C,), or None.
        bias: (C,), or None.
        mean_gate: Ratios of the mean gate, or its logits, (K,).
        var_gate: The same of the variance gate.
    """

    x: Tensor
    weight: Tensor | None
    bias: Tensor | None
    mean_gate: Tensor
    var_gate: Tensor


def differentiable_gradients(
    inputs: Differentiated,
    needed: Sequence[bool],
    ratios: Callable[[Tensor, Tensor], tuple[Tensor, Tensor]],
    settings: NormSettings,
    grad: Tensor,
    running: tuple[Tensor | None, Tensor | None] = (None, None),
) -> list[Tensor | None]:
    """Gradients of :func:`switchable_norm` that can be differentiated themselves.

    Args:
        inputs: What it was given.
        needed: For each of the five inputs, whether its gradient is needed.
        ratios: Turns ``mean_gate`` and ``var_gate`` into ratios.
        settings: See :func:`switchable_norm`.
        grad: The gradient of the output.
        running: See :func:`switchable_norm`.
    """
    listed = (inputs.x, inputs.weight, inputs.bias, inputs.mean_gate, inputs.var_gate)
    # Aliases: a shared gate comes twice, and each place has a gradient of its own.
    x, weight, bias, mean_gate, var_gate = aliases = [
        None if t is None else t.view_as(t) for t in listed
    ]
    assert x is not None
    assert mean_gate is not None
    assert var_gate is not None
    p, q = ratios(mean_gate, var_gate)
    y = plain_formula(x, weight, bias, p, q, *running, settings)[0]
    sought = [t for t, needs in zip(aliases, needed, strict=True) if needs and t is not None]
    found = iter(torch.autograd.grad(y, sought, grad, create_graph=True))
    return [next(found) if needs else None for needs in needed]
