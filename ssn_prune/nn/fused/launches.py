"""The launches that eager and compiled training share."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from ssn_prune.nn._algebra import NormSettings
from ssn_prune.nn.fused.gate_inputs import GateInputs
from ssn_prune.nn.fused.kernels.gradient_pooling import pool_gradients
from ssn_prune.nn.fused.kernels.planes import gradient_sums, plane_moments
from ssn_prune.nn.fused.kernels.pooling import pool
from ssn_prune.nn.fused.plan import FusedPlan
from ssn_prune.nn.fused.running_statistics import RunningStatistics

GATE_NUMBERS = 24  # of both gates, see kernels.gates
SUMMED_AT_ONCE = 128  # programs whose parts of the gates' gradients are summed at a time


@dataclass(frozen=True)
class Statistics:
    """What the forward launches leave.

    Attributes:
        scratch: See :func:`ssn_prune.nn.fused.kernels.planes.plane_moments`.
        moments: See :func:`ssn_prune.nn.fused.kernels.mixture.mixture`.
        pooled: See :mod:`ssn_prune.nn.fused.kernels.mixture`.
    """

    scratch: Tensor
    moments: Tensor
    pooled: Tensor


@dataclass(frozen=True)
class Gradients:
    """What the backward launches leave, before the gradient of the input.

    Attributes:
        scratch: See :func:`ssn_prune.nn.fused.kernels.planes.gradient_sums`.
        sums: See :mod:`ssn_prune.nn.fused.kernels.gradient_pooling`.
        weight: (C,), or None.
        bias: (C,), or None.
    """

    scratch: Tensor
    sums: Tensor
    weight: Tensor | None
    bias: Tensor | None


def pooled_size(n: int, c: int, groups: int) -> int:
    """Numbers in ``pooled``."""
    return GATE_NUMBERS + 2 * n + 2 * groups * c


def launch_statistics(
    x: Tensor,
    gates: GateInputs,
    running: RunningStatistics | None,
    settings: NormSettings,
    plan: FusedPlan,
) -> Statistics:
    """Solve the gates, measure x, and update the running statistics."""
    n, c = x.shape[:2]
    sizes = (n, c, plan.positions)
    parts = plan.parts
    scratch = torch.empty((2 * parts + 1, n, c), dtype=torch.float64, device=x.device)
    plane_moments[plan.reducing](x, scratch, *sizes, **plan.reduction)
    moments = scratch.new_empty((2, n, c))
    size = pooled_size(n, c, settings.groups)
    pooled = torch.empty(size, dtype=torch.float64, device=x.device)
    averages = running is not None and running.momentum is None
    if running is not None and averages:
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
        0.0 if running is None else float(running.momentum or 0.0),
        AVERAGES=averages,
        FROM_PLANES=plan.from_planes,
        SHARED=settings.reduction is not None,
        TRACKS=running is not None,
        GATE=gates.kind.value,
        PARTS=parts,
        BLOCK_M=plan.reduction["BLOCK_M"],
        **plan.pooled,
        **plan.choices,
        **plan.pooling,
    )
    return Statistics(scratch, moments, pooled)


def launch_gradients(
    grad: Tensor,
    x: Tensor,
    weight: Tensor | None,
    moments: Tensor,
    pooled: Tensor,
    settings: NormSettings,
    plan: FusedPlan,
    needs: tuple[bool, bool],
) -> Gradients:
    """Reduce g, laid out as x; ``needs`` says whether weight and bias need gradients."""
    n, c = x.shape[:2]
    sizes = (n, c, plan.positions)
    parts = plan.parts
    scratch = torch.empty((2 * parts + 3, n, c), dtype=torch.float32, device=x.device)
    gradient_sums[plan.reducing](grad, x, moments, scratch, *sizes, **plan.reduction)
    sums = pooled.new_empty(2 * n + 2 * settings.groups * c + 6 * plan.programs)
    like = scratch if weight is None else weight
    weight_gradient, bias_gradient = (like.new_empty(c) if need else None for need in needs)
    pool_gradients[(plan.programs,)](
        scratch,
        moments,
        pooled,
        sums,
        weight,
        weight_gradient,
        bias_gradient,
        *sizes,
        settings.groups,
        EPS=settings.eps,
        SHARED=settings.reduction is not None,
        PARTS=parts,
        **plan.statistics,
        **plan.pooling,
    )
    return Gradients(scratch, sums, weight_gradient, bias_gradient)
