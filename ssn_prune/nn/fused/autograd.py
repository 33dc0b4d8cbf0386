"""The fused normalizer as a function that torch differentiates."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from ssn_prune.nn._algebra import NormSettings
from ssn_prune.nn.functional import Differentiated, differentiable_gradients
from ssn_prune.nn.fused.gate_inputs import GateInputs
from ssn_prune.nn.fused.gradient_kernels import input_gradient, pool_gradients
from ssn_prune.nn.fused.layout import dense, laid_out_as
from ssn_prune.nn.fused.mixture_kernels import normalize
from ssn_prune.nn.fused.plan import FusedPlan, plan_for
from ssn_prune.nn.fused.plane_kernels import gradient_sums, plane_moments
from ssn_prune.nn.fused.pooling_kernel import pool

_GATE_NUMBERS = 24  # of both gates, see gate_kernels
_SUMMED_AT_ONCE = 128  # programs, when the gradients of the gates are put together


@dataclass(frozen=True)
class RunningStatistics:
    """Buffers that a training step updates in place.

    Attributes:
        mean: (C,).
        var: (C,).
        tracked: Batches so far, ().
        momentum: torch's convention; None for the plain average.
    """

    mean: Tensor
    var: Tensor
    tracked: Tensor
    momentum: float | None


def fused_norm(
    x: Tensor,
    weight: Tensor | None,
    bias: Tensor | None,
    gates: GateInputs,
    running: RunningStatistics | None,
    settings: NormSettings,
) -> tuple[Tensor, Tensor | None]:
    """Normalize with the statistics of the batch, and update the running ones.

    Args:
        x: Shape (N, C, ...), at least one position; float32, float16 or bfloat16.
        weight: Shape (C,), or None for ones.
        bias: Shape (C,), or None for zeros.
        gates: Both gates.
        running: What to update in place; not allowed if ``settings`` has a reduction.
        settings: Everything else.

    Returns:
        The output in the shape, dtype and layout of ``x``; and, with a reduction, the statistics
        of all processes, (2, C), averaged over the groups, float64 and without a gradient.
    """
    result: tuple[Tensor, Tensor | None] = _FusedNorm.apply(
        x, weight, bias, gates.mean, gates.var, gates, running, settings
    )
    return result


class _FusedNorm(torch.autograd.Function):
    """Saves x, eight bytes for every plane of it, and what is pooled."""

    @staticmethod
    def forward(
        ctx: Any,
        x: Tensor,
        weight: Tensor | None,
        bias: Tensor | None,
        mean_logits: Tensor,
        var_logits: Tensor,
        gates: GateInputs,
        running: RunningStatistics | None,
        settings: NormSettings,
    ) -> tuple[Tensor, Tensor | None]:
        x = dense(x)
        plan = plan_for(x, settings)
        with torch.cuda.device_of(x):
            moments, pooled = _statistics(x, gates, running, settings, plan)
            shared = None
            if settings.reduction is not None and plan.pooled["HAS_BN"]:
                shared, ctx.shared_factors = _share(pooled, settings, plan, x)
            y = torch.empty_like(x)
            normalize[plan.mapping](
                x,
                y,
                moments,
                pooled,
                weight,
                bias,
                x.shape[0],
                x.shape[1],
                plan.positions,
                settings.groups,
                EPS=settings.eps,
                **plan.statistics,
                **plan.maps,
            )
        ctx.plan, ctx.gates, ctx.settings = plan, gates, settings
        ctx.save_for_backward(x, weight, bias, mean_logits, var_logits, moments, pooled)
        if shared is not None:
            ctx.mark_non_differentiable(shared)
        return y, shared

    @staticmethod
    def backward(ctx: Any, grad: Tensor, *_: Any) -> tuple[Any, ...]:
        x, weight, bias, mean_logits, var_logits, moments, pooled = ctx.saved_tensors
        if torch.is_grad_enabled():  # create_graph: the gradient itself is differentiated
            inputs = Differentiated(x, weight, bias, mean_logits, var_logits)
            found = differentiable_gradients(
                inputs, ctx.needs_input_grad[:5], ctx.gates.ratios, ctx.settings, grad
            )
            return (*found, None, None, None)
        plan, settings = ctx.plan, ctx.settings
        needs_x, needs_weight, needs_bias, *needs_gates = ctx.needs_input_grad[:5]
        n, c = x.shape[:2]
        sizes = (n, c, plan.positions)
        parts, groups = plan.layout.parts, settings.groups
        grad = laid_out_as(grad, x)
        with torch.cuda.device_of(x):
            scratch = moments.new_empty((2 * parts + 3, n, c))
            gradient_sums[plan.reducing](grad, x, moments, scratch, *sizes, **plan.passes)
            sums = pooled.new_empty(2 * n + 2 * groups * c + 6 * plan.programs)
            weight_gradient = torch.empty_like(weight) if needs_weight else None
            bias_gradient = torch.empty_like(bias) if needs_bias else None
            pool_gradients[(plan.programs,)](
                scratch,
                moments,
                pooled,
                sums,
                weight,
                weight_gradient,
                bias_gradient,
                *sizes,
                groups,
                EPS=settings.eps,
                PARTS=parts,
                **plan.statistics,
                **plan.pooling,
            )
            shared = settings.reduction is not None and plan.pooled["HAS_BN"]
            if shared:
                for_batch = sums[2 * n : 2 * n + 2 * groups * c].view(2, groups, c)
                total = settings.reduction.summed(for_batch)
                torch.mul(total, ctx.shared_factors, out=for_batch)
            x_gradient = torch.empty_like(x) if needs_x else None
            mean_gradient = torch.empty_like(mean_logits) if any(needs_gates) else None
            var_gradient = torch.empty_like(var_logits) if any(needs_gates) else None
            if needs_x or any(needs_gates):
                input_gradient[plan.mapping if needs_x else (1, 1)](
                    grad,
                    x,
                    x_gradient,
                    scratch,
                    moments,
                    pooled,
                    sums,
                    weight,
                    mean_gradient,
                    var_gradient,
                    *sizes,
                    groups,
                    plan.programs,
                    EPS=settings.eps,
                    FROM_PLANES=plan.from_planes,
                    SHARED=shared,
                    PARTS=parts,
                    BLOCK_P=_SUMMED_AT_ONCE,
                    **plan.statistics,
                    **plan.choices,
                    **plan.maps,
                )
        gradients = (x_gradient, weight_gradient, bias_gradient, mean_gradient, var_gradient)
        return (*gradients, None, None, None)


def _statistics(
    x: Tensor,
    gates: GateInputs,
    running: RunningStatistics | None,
    settings: NormSettings,
    plan: FusedPlan,
) -> tuple[Tensor, Tensor]:
    """The moments of the planes, and what is pooled of them, with the gates."""
    n, c = x.shape[:2]
    sizes = (n, c, plan.positions)
    parts = plan.layout.parts
    scratch = torch.empty((2 * parts + 1, n, c), dtype=torch.float32, device=x.device)
    plane_moments[plan.reducing](x, scratch, *sizes, **plan.passes)
    moments = scratch.new_empty((2, n, c))
    size = _GATE_NUMBERS + 2 * n + 2 * settings.groups * c
    pooled = torch.empty(size, dtype=torch.float64, device=x.device)
    momentum = 0.0
    if running is not None:
        momentum = -1.0 if running.momentum is None else running.momentum
        if running.momentum is None:
            running.tracked.add_(1)
    pool[(plan.programs + 1,)](
        scratch,
        moments,
        pooled,
        gates.mean,
        gates.var,
        gates.radius,
        gates.mean_fixed,
        gates.var_fixed,
        gates.frozen_ratios,
        None if running is None else running.mean,
        None if running is None else running.var,
        None if running is None else running.tracked,
        *sizes,
        settings.groups,
        MOMENTUM=momentum,
        FROM_PLANES=plan.from_planes,
        SHARED=settings.reduction is not None,
        TRACKS=running is not None,
        GATE=gates.kind,
        PARTS=parts,
        BLOCK_M=plan.layout.block_positions,
        **plan.pooled,
        **plan.choices,
        **plan.pooling,
    )
    return moments, pooled


def _share(
    pooled: Tensor, settings: NormSettings, plan: FusedPlan, x: Tensor
) -> tuple[Tensor, Tensor]:
    """Replace BN's statistics by those of all processes, in place.

    Returns:
        Their average over the groups, (2, C); and the factors (2, 1, 1) of their gradients.
    """
    assert settings.reduction is not None
    n, c = x.shape[:2]
    batch = pooled[_GATE_NUMBERS + 2 * n :].view(2, settings.groups, c)
    found, count = settings.reduction.pooled(batch.unsqueeze(2), n // settings.groups)
    factors = batch.new_ones((2, 1, 1)) / count
    if plan.pooled["OWN_COUNT"]:
        values = count * plan.positions
        factor = values / (values - 1)
        found[1] *= factor
        factors[1] *= factor
    batch.copy_(found.view_as(batch))
    return batch.mean(1), factors
