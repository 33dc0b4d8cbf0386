"""The fused normalizer as a function that torch differentiates."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from ssn_prune.nn._algebra import NormSettings
from ssn_prune.nn.functional import Differentiated, differentiable_gradients
from ssn_prune.nn.fused.gate_inputs import GateInputs
from ssn_prune.nn.fused.kernels.input_gradient import input_gradient
from ssn_prune.nn.fused.kernels.mixture import normalize
from ssn_prune.nn.fused.launches import (
    GATE_NUMBERS,
    SUMMED_AT_ONCE,
    launch_gradients,
    launch_statistics,
)
from ssn_prune.nn.fused.layout import dense, laid_out_as
from ssn_prune.nn.fused.plan import FusedPlan, plan_for
from ssn_prune.nn.fused.running_statistics import RunningStatistics

Ratios = Callable[[Tensor, Tensor], tuple[Tensor, Tensor]]


def fused_norm(
    x: Tensor,
    weight: Tensor | None,
    bias: Tensor | None,
    gates: GateInputs,
    ratios: Ratios,
    running: RunningStatistics | None,
    settings: NormSettings,
) -> tuple[Tensor, Tensor | None]:
    """Normalize with the statistics of the batch, and update the running ones.

    Args:
        x: Shape (N, C, ...), at least one position; float32, float16 or bfloat16.
        weight: Shape (C,), or None for ones.
        bias: Shape (C,), or None for zeros.
        gates: Both gates.
        ratios: The same in operators that can be differentiated: logits (K,) to ratios (K,).
        running: The buffers to update in place; not allowed if ``settings`` has a reduction.
        settings: Everything else.

    Returns:
        The output in the shape, dtype and layout of ``x``; and, with a reduction, the statistics
        of all processes, (2, C), averaged over the groups, float64 and without a gradient.
    """
    x = dense(x)  # out here, where autograd differentiates a copy
    result: tuple[Tensor, Tensor | None] = _FusedNorm.apply(
        x, weight, bias, gates.mean, gates.var, gates, ratios, running, settings
    )
    return result


class _FusedNorm(torch.autograd.Function):
    """Saves x, sixteen bytes for each of its planes, and the pooled statistics."""

    @staticmethod
    def forward(
        ctx: Any,
        x: Tensor,
        weight: Tensor | None,
        bias: Tensor | None,
        mean_logits: Tensor,
        var_logits: Tensor,
        gates: GateInputs,
        ratios: Ratios,
        running: RunningStatistics | None,
        settings: NormSettings,
    ) -> tuple[Tensor, Tensor | None]:
        plan = plan_for(x, settings)
        with torch.cuda.device_of(x):
            found = launch_statistics(x, gates, running, settings, plan)
            moments, pooled = found.moments, found.pooled
            if running is not None:
                running.mark_changed()
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
                **plan.map,
            )
        ctx.ratios, ctx.settings = ratios, settings
        ctx.save_for_backward(x, weight, bias, mean_logits, var_logits, moments, pooled)
        if shared is not None:
            ctx.mark_non_differentiable(shared)
        return y, shared

    @staticmethod
    def backward(ctx: Any, grad: Tensor, *_: Any) -> tuple[Any, ...]:
        x, weight, bias, mean_logits, var_logits, moments, pooled = ctx.saved_tensors
        if torch.is_grad_enabled():  # create_graph: the gradient itself is differentiated
            inputs = Differentiated(x, weight, bias, mean_logits, var_logits)
            wanted = differentiable_gradients(
                inputs, ctx.needs_input_grad[:5], ctx.ratios, ctx.settings, grad
            )
            return (*wanted, None, None, None, None)
        settings = ctx.settings
        x = dense(x)  # hooks on saved tensors may give it back in another layout
        plan = plan_for(x, settings)
        needs_x, needs_weight, needs_bias, *needs_gates = ctx.needs_input_grad[:5]
        n, c = x.shape[:2]
        sizes = (n, c, plan.positions)
        groups = settings.groups
        grad = laid_out_as(grad, x)
        with torch.cuda.device_of(x):
            found = launch_gradients(
                grad, x, weight, moments, pooled, settings, plan, (needs_weight, needs_bias)
            )
            sums = found.sums
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
                    found.scratch,
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
                    PARTS=plan.parts,
                    BLOCK_P=SUMMED_AT_ONCE,
                    **plan.statistics,
                    **plan.choices,
                    **plan.map,
                )
        gradients = (x_gradient, found.weight, found.bias, mean_gradient, var_gradient)
        return (*gradients, None, None, None, None)


def _share(
    pooled: Tensor, settings: NormSettings, plan: FusedPlan, x: Tensor
) -> tuple[Tensor, Tensor]:
    """Replace BN's statistics by those of all processes, in place.

    Returns:
        Their average over the groups, (2, C); and the factors (2, 1, 1) of their gradients.
    """
    assert settings.reduction is not None
    n, c = x.shape[:2]
    batch = pooled[GATE_NUMBERS + 2 * n :].view(2, settings.groups, c)
    found, count = settings.reduction.pooled(batch.unsqueeze(2), n // settings.groups)
    factors = batch.new_ones((2, 1, 1)) / count
    if plan.pooled["OWN_COUNT"]:
        values = count * plan.positions
        factor = values / (values - 1)
        found[1] *= factor
        factors[1] *= factor
    batch.copy_(found.view_as(batch))
    return batch.mean(1), factors
