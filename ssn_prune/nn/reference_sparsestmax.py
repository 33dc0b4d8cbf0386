"""The gates of the reference code on tensors: :mod:`ssn_prune.nn.reference_gate` for a whole batch.

It serves traced and exported graphs, and devices whose values the host should not wait for. Both
forms round after the same operations and give the same bits.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from ssn_prune.nn.planes import wide_dtype
from ssn_prune.nn.reference_gate import NEAR_VERTEX


def reference_sparsestmax(z: Tensor, radius: Tensor, *, float64: bool = False) -> Tensor:
    """The ratios that the reference code gives.

    Args:
        z: Logits, shape (..., K), floating-point.
        radius: Shape (..., 1), broadcastable against ``z``.
        float64: Compute as the code does when it runs in float64; by default in float32.

    Returns:
        Ratios of the shape and dtype of ``z``, without gradient; NaN where the reference code gives
        none.
    """
    single = z.dtype if float64 else torch.float32
    v, r = z.detach().to(single), radius.detach().to(wide_dtype(z))
    rounds = z.shape[-1] + 2
    result = torch.full_like(v, math.nan)
    done = torch.zeros_like(v[..., :1], dtype=torch.bool)
    outer = torch.zeros_like(v)
    for index in range(rounds):
        w = _sparsemax(v)
        inside = (w > 0).to(v.dtype)
        centre = inside / inside.sum(dim=-1, keepdim=True)
        if index:
            square = (r * r).to(single) - _squared_distance(centre, outer)
            r = square.to(r.dtype).sqrt()  # NaN if negative
        away = w - centre
        distance = _norm(away)
        p = r.to(single) * away / distance + centre
        finite = w.isfinite().all(dim=-1, keepdim=True) & ~r.isnan()
        vertex = w.amax(dim=-1, keepdim=True) - w.amin(dim=-1, keepdim=True) == 1
        keeps = vertex | (finite & (distance >= r.to(single)))
        pushed = finite & ~keeps & (p >= 0).all(dim=-1, keepdim=True)
        found = torch.where(keeps, w, p.clamp(max=1))
        result = torch.where((keeps | pushed) & ~done, found, result)
        again = finite & ~keeps & (p < 0).any(dim=-1, keepdim=True)
        done = done | ~again
        v, outer = torch.where(again, p, v), centre
    return _settled(result).to(z.dtype)


def _settled(ratios: Tensor) -> Tensor:
    """The vertex, where the other entries are only rounding errors; else the ratios."""
    largest = ratios.amax(dim=-1, keepdim=True)
    vertex = (ratios == largest).to(ratios.dtype)
    others = (ratios * (1 - vertex)).amax(dim=-1, keepdim=True)
    near = (largest >= 1 - NEAR_VERTEX) & (others <= NEAR_VERTEX) & (vertex.sum(-1, True) == 1)
    return torch.where(near, vertex, ratios)


def _sparsemax(v: Tensor) -> Tensor:
    """Sparsemax with float32 results; the running sum is wider, as in torch on the CPU."""
    sizes = torch.arange(1, v.shape[-1] + 1, dtype=v.dtype, device=v.device)
    s = v.sort(dim=-1, descending=True).values
    taus = (s.to(wide_dtype(v)).cumsum(dim=-1).to(v.dtype) - 1) / sizes
    inside = s - taus > 0
    last = (inside * sizes).amax(dim=-1, keepdim=True).clamp(min=1).long() - 1
    tau = taus.gather(-1, last)
    tau = torch.where(inside.any(dim=-1, keepdim=True), tau, torch.full_like(tau, math.nan))
    return (v - tau).clamp(min=0)


def _squared_distance(a: Tensor, b: Tensor) -> Tensor:
    """The squared distance; every difference, square and sum is rounded, in order."""
    total = torch.zeros_like(a[..., :1])
    for entry in (a - b).square().split(1, dim=-1):
        total = total + entry
    return total


def _norm(x: Tensor) -> Tensor:
    """The norm as torch computes it on the CPU: a square and its addition are rounded once."""
    total = torch.zeros_like(x[..., :1]).to(wide_dtype(x))
    for entry in x.to(total.dtype).split(1, dim=-1):
        total = (total + entry * entry).to(x.dtype).to(total.dtype)
    return total.sqrt().to(x.dtype)
