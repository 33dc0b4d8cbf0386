"""The reductions and the (N, C) part as operators, for ``torch.compile``.

Their backward passes are part of :mod:`ssn_prune.nn.fused.traced`; alone they have none.
"""

from __future__ import annotations

import torch
from torch import Tensor

from ssn_prune.nn._algebra import NormSettings
from ssn_prune.nn.fused.gate_inputs import GateInputs, GateKind
from ssn_prune.nn.fused.kernels.constants import gradient_constants, plane_constants
from ssn_prune.nn.fused.launches import (
    SUMMED_AT_ONCE,
    launch_gradients,
    launch_statistics,
    pooled_size,
)
from ssn_prune.nn.fused.layout import dense, laid_out_as
from ssn_prune.nn.fused.plan import plan_for
from ssn_prune.nn.fused.running_statistics import RunningStatistics
from ssn_prune.normalizer import Normalizer

_BLOCK = 128  # planes of a program


def _settings(eps: float, offered: list[int], correction: int, groups: int) -> NormSettings:
    return NormSettings(eps, tuple(map(Normalizer, offered)), correction, groups)


@torch.library.custom_op(
    "ssn_prune::statistics", mutates_args=("running_mean", "running_var", "tracked")
)
def statistics(
    x: Tensor,
    weight: Tensor | None,
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
) -> tuple[Tensor, Tensor, Tensor]:
    """The constants of a layer at this input; updates the running statistics.

    Returns:
        Reference, shift and scale of every plane, (3, N, C) float32; and what the backward pass
        needs, ``moments`` and ``pooled`` of :mod:`ssn_prune.nn.fused.kernels.mixture`.
    """
    x = dense(x)
    settings = _settings(eps, offered, correction, groups)
    plan = plan_for(x, settings)
    gates = GateInputs(
        GateKind(kind), mean_logits, var_logits, radius, mean_fixed, var_fixed, frozen_ratios
    )
    running = None
    if running_mean is not None and running_var is not None and tracked is not None:
        running = RunningStatistics(running_mean, running_var, tracked, momentum)
    n, c = x.shape[:2]
    with torch.cuda.device_of(x):
        found = launch_statistics(x, gates, running, settings, plan)
        constants = torch.empty((3, n, c), dtype=torch.float32, device=x.device)
        plane_constants[(-(-n * c // _BLOCK),)](
            found.scratch,
            found.moments,
            found.pooled,
            weight,
            constants,
            n,
            c,
            plan.positions,
            groups,
            EPS=eps,
            PARTS=plan.parts,
            BLOCK=_BLOCK,
            **plan.statistics,
        )
    return constants, found.moments, found.pooled


@torch.library.custom_op("ssn_prune::gradients", mutates_args=())
def gradients(
    grad: Tensor,
    x: Tensor,
    weight: Tensor | None,
    mean_logits: Tensor,
    var_logits: Tensor,
    moments: Tensor,
    pooled: Tensor,
    eps: float,
    offered: list[int],
    correction: int,
    groups: int,
) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor]:
    """Reduce the gradient of the output.

    Returns:
        Slope and shift of every plane, (2, N, C) float32; and the gradients of weight and bias,
        (C,), and of the logits of both gates, (K,).
    """
    x = dense(x)
    settings = _settings(eps, offered, correction, groups)
    plan = plan_for(x, settings)
    n, c = x.shape[:2]
    with torch.cuda.device_of(x):
        found = launch_gradients(
            laid_out_as(grad, x), x, weight, moments, pooled, settings, plan, (True, True)
        )
        slopes = found.scratch.new_empty((2, n, c))
        mean_gradient, var_gradient = map(torch.empty_like, (mean_logits, var_logits))
        gradient_constants[(-(-n * c // _BLOCK),)](
            found.scratch,
            moments,
            pooled,
            found.sums,
            weight,
            slopes,
            mean_gradient,
            var_gradient,
            n,
            c,
            plan.positions,
            groups,
            plan.programs,
            EPS=eps,
            FROM_PLANES=plan.from_planes,
            PARTS=plan.parts,
            BLOCK_P=SUMMED_AT_ONCE,
            BLOCK=_BLOCK,
            **plan.statistics,
            **plan.choices,
        )
    assert found.weight is not None
    assert found.bias is not None
    return slopes, found.weight, found.bias, mean_gradient, var_gradient


@statistics.register_fake
def _statistics_shapes(
    x: Tensor,
    weight: Tensor | None,  # noqa: ARG001
    mean_logits: Tensor,  # noqa: ARG001
    var_logits: Tensor,  # noqa: ARG001
    radius: Tensor | None,  # noqa: ARG001
    mean_fixed: Tensor | None,  # noqa: ARG001
    var_fixed: Tensor | None,  # noqa: ARG001
    frozen_ratios: Tensor | None,  # noqa: ARG001
    running_mean: Tensor | None,  # noqa: ARG001
    running_var: Tensor | None,  # noqa: ARG001
    tracked: Tensor | None,  # noqa: ARG001
    momentum: float | None,  # noqa: ARG001
    kind: str,  # noqa: ARG001
    eps: float,  # noqa: ARG001
    offered: list[int],  # noqa: ARG001
    correction: int,  # noqa: ARG001
    groups: int,
) -> tuple[Tensor, Tensor, Tensor]:
    n, c = x.shape[:2]
    return (
        x.new_empty((3, n, c), dtype=torch.float32),
        x.new_empty((2, n, c), dtype=torch.float64),
        x.new_empty(pooled_size(n, c, groups), dtype=torch.float64),
    )


@gradients.register_fake
def _gradient_shapes(
    grad: Tensor,  # noqa: ARG001
    x: Tensor,
    weight: Tensor | None,
    mean_logits: Tensor,
    var_logits: Tensor,
    moments: Tensor,  # noqa: ARG001
    pooled: Tensor,  # noqa: ARG001
    eps: float,  # noqa: ARG001
    offered: list[int],  # noqa: ARG001
    correction: int,  # noqa: ARG001
    groups: int,  # noqa: ARG001
) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor]:
    n, c = x.shape[:2]
    single = x.new_empty((2, n, c), dtype=torch.float32)
    like = single if weight is None else weight
    return (
        single,
        like.new_empty(c),
        like.new_empty(c),
        torch.empty_like(mean_logits),
        torch.empty_like(var_logits),
    )
