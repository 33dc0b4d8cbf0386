"""The normalizer as ``torch.compile`` sees it: two operators, scale and shift in plain torch."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from ssn_prune.nn._algebra import NormSettings
from ssn_prune.nn.axes import per_channel
from ssn_prune.nn.fused.gate_inputs import GateInputs
from ssn_prune.nn.fused.operators import gradients, statistics
from ssn_prune.nn.fused.running_statistics import RunningStatistics


def traced_norm(
    x: Tensor,
    weight: Tensor | None,
    bias: Tensor | None,
    gates: GateInputs,
    running: RunningStatistics | None,
    settings: NormSettings,
) -> Tensor:
    """The same as :func:`ssn_prune.nn.fused.autograd.fused_norm`, within one process.

    The compiler itself refuses gradients of gradients.
    """
    # The compiler does not take the same tensor twice, as it would a shared gate.
    var_logits = gates.var.view_as(gates.var) if gates.var is gates.mean else gates.var
    result: Tensor = _TracedNorm.apply(
        x,
        weight,
        bias,
        gates.mean,
        var_logits,
        gates.radius,
        gates.mean_fixed,
        gates.var_fixed,
        gates.frozen_ratios,
        None if running is None else running.mean,
        None if running is None else running.var,
        None if running is None else running.tracked,
        None if running is None else running.momentum,
        gates.kind.value,
        settings.eps,
        [int(normalizer) for normalizer in settings.normalizers],
        settings.correction,
        settings.groups,
    )
    return result


def _by_plane(values: Tensor, x: Tensor) -> Tensor:
    return values.view(*values.shape, *[1] * (x.dim() - 2))


class _TracedNorm(torch.autograd.Function):
    """Saves what the eager function saves, and the scales."""

    @staticmethod
    def forward(
        ctx: Any,
        x: Tensor,
        weight: Tensor | None,
        bias: Tensor | None,
        mean_logits: Tensor,
        var_logits: Tensor,
        radius: Tensor | None,
        mean_fixed: Tensor | None,
        var_fixed: Tensor | None,
        frozen_ratios: Tensor | None,
        running_mean: Tensor | None,
        running_var: Tensor | None,
        tracked: Tensor | None,
        momentum: float | None,
        kind: str,
        eps: float,
        offered: list[int],
        correction: int,
        groups: int,
    ) -> Tensor:
        constants, moments, pooled = statistics(
            x,
            weight,
            mean_logits,
            var_logits,
            radius,
            mean_fixed,
            var_fixed,
            frozen_ratios,
            running_mean,
            running_var,
            tracked,
            momentum,
            kind,
            eps,
            offered,
            correction,
            groups,
        )
        reference, shift, scale = (_by_plane(values, x) for values in constants.unbind())
        y = ((x.float() - reference) - shift) * scale
        if bias is not None:
            y = y + per_channel(bias.float(), x)
        ctx.save_for_backward(x, weight, mean_logits, var_logits, constants, moments, pooled)
        ctx.has_bias = bias is not None
        ctx.eps, ctx.offered, ctx.correction, ctx.groups = eps, offered, correction, groups
        return y.to(x.dtype)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Any, ...]:
        x, weight, mean_logits, var_logits, constants, moments, pooled = ctx.saved_tensors
        slopes, for_weight, for_bias, for_mean, for_var = gradients(
            grad,
            x,
            weight,
            mean_logits,
            var_logits,
            moments,
            pooled,
            ctx.eps,
            ctx.offered,
            ctx.correction,
            ctx.groups,
        )
        reference, scale = _by_plane(constants[0], x), _by_plane(constants[2], x)
        slope, shift = (_by_plane(values, x) for values in slopes.unbind())
        centred = (x.float() - reference) - _by_plane(moments[0].float(), x)
        for_x = slope * centred + (scale * grad.float() + shift)
        return (
            for_x.to(x.dtype),
            None if weight is None else for_weight,
            for_bias if ctx.has_bias else None,
            for_mean,
            for_var,
            *[None] * 13,
        )
