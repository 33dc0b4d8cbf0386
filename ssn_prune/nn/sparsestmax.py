r"""SparsestMax: the sparse gate of SSN (Shao et al., CVPR 2019, arXiv 1903.03793, section 3.2).

With :math:`u = (1/K, \dots, 1/K)`,

.. math::  \mathrm{SparsestMax}(z; r) = \arg\min_p \|p - z\|^2
           \quad\text{s.t.}\quad p \ge 0,\ \sum p = 1,\ \|p - u\| \ge r .

**Closed form.** If sparsemax(z), the projection on the simplex, is at least r away from u, it is
the result. Otherwise the result lies on the sphere :math:`\|p - u\| = r`, where :math:`\|p\|` is
constant, so it maximises :math:`\langle p, z\rangle` there. By exchange its support is the set S
of the m largest logits for some m, and inside that face

.. math::  p_S = u_S + r_m\, c/\|c\|,\qquad c = z_S - \mathrm{mean}(z_S),\qquad
           r_m^2 = r^2 - (1/m - 1/K).

A larger face contains the smaller ones, so its maximum is at least theirs: the result belongs to
the **largest m whose p has no negative entry**. All K candidates are computed at once, which needs
no loop, no data-dependent branch and no host synchronisation.

**Gradient** (S the support of the result, n = c/||c||):
:math:`dp_S = (r_m/\|c\|)(I - nn^T)(I - 11^T/m)\,dz_S`; the Jacobian of sparsemax if its result was
feasible or if the logits of S are exactly tied (c = 0), so that tied gates can still separate;
zero at a vertex. Ties are broken towards the lowest index.
"""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor

from ssn_prune.nn.single_gate import VERTEX_MARGIN, vertex_radius


def _solve(z: Tensor, radius: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """SparsestMax over the last axis, with what its backward pass needs.

    Args:
        z: Logits, shape (..., K), floating-point.
        radius: Shape (..., 1), broadcastable against ``z``.

    Returns:
        ``p``, the 0/1 mask of the support that carries gradient (both shape (..., K)), the unit
        direction ``n`` (..., K), and the gain (..., 1) of the Jacobian gain (I - nn^T)(I - 11^T/m).
    """
    k = z.shape[-1]
    # Invariant under shifts; the subtraction keeps the precision of large equal offsets.
    z = z - z.amax(dim=-1, keepdim=True)
    order = _descending_order(z)
    s = z.gather(-1, order)
    p0 = _sparsemax(s)
    radius = radius.clamp(max=vertex_radius(k))
    feasible = (p0 - 1 / k).square().sum(dim=-1, keepdim=True) >= radius.square()
    p_sphere, face, n_sphere, gain, face_tied = _on_sphere(s, radius)

    vertex = torch.zeros_like(s)
    vertex[..., 0].fill_(1)
    at_vertex = radius >= vertex_radius(k) * (1 - VERTEX_MARGIN)
    p_sphere = torch.where(at_vertex, vertex, p_sphere)
    gain = torch.where(at_vertex, torch.zeros_like(gain), gain)

    feasible = feasible & ~at_vertex  # a result next to a vertex must become that vertex
    like_sparsemax = feasible | face_tied
    result = torch.where(feasible, p0, p_sphere)
    mask = torch.where(like_sparsemax, (p0 > 0).to(z.dtype), face)
    direction = torch.where(like_sparsemax, torch.zeros_like(n_sphere), n_sphere)
    gain = torch.where(like_sparsemax, torch.ones_like(gain), gain)

    undefined = z.isnan().any(dim=-1, keepdim=True)
    result = torch.where(undefined, torch.full_like(result, math.nan), result)

    def unsort(sorted_values: Tensor) -> Tensor:
        return torch.zeros_like(z).scatter(-1, order, sorted_values.expand_as(z))

    return unsort(result), unsort(mask), unsort(direction), gain


def _descending_order(z: Tensor) -> Tensor:
    """Indices that sort the last axis; the lowest index wins every tie."""
    if not torch.compiler.is_exporting():
        return torch.sort(z, dim=-1, descending=True, stable=True).indices
    # ONNX has no stable sort. The ranks are all different.
    index = torch.arange(z.shape[-1], device=z.device)
    other, own = z.unsqueeze(-2), z.unsqueeze(-1)
    before = (other > own) | ((other == own) & (index < index.unsqueeze(-1)))
    return before.sum(dim=-1).argsort(dim=-1)


def _sparsemax(s: Tensor) -> Tensor:
    """Sparsemax of sorted logits: the support is the largest m with 1 + m s_m > sum of the m."""
    sizes = torch.arange(1, s.shape[-1] + 1, dtype=s.dtype, device=s.device)  # m = 1..K
    sums = s.cumsum(dim=-1)
    m0 = (1 + sizes * s > sums).sum(dim=-1, keepdim=True).clamp(min=1)
    tau = (sums.gather(-1, m0 - 1) - 1) / m0.to(s.dtype)
    return (s - tau).clamp(min=0)


def _on_sphere(s: Tensor, radius: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor]:
    """The solution on the largest face whose point at this radius is non-negative.

    Args:
        s: Sorted logits, (..., K).
        radius: At most the vertex radius, (..., 1).

    Returns:
        ``p``, the 0/1 mask of the face and its unit direction ``n``, (..., K) each; the gain and
        whether the face's logits are tied, (..., 1) each.
    """
    k = s.shape[-1]
    one = torch.ones((), dtype=s.dtype, device=s.device)
    sizes = torch.arange(1, k + 1, dtype=s.dtype, device=s.device)  # m = 1..K
    in_face = torch.ones(k, k, dtype=s.dtype, device=s.device).tril()  # row m: top-m mask
    # All K candidates: row m of c, p is the solution on the face of the m largest logits.
    # Dividing by the face's span first keeps ||c|| from underflowing; n is invariant to it.
    span = s[..., :1] - s
    tied = span == 0
    w = s.unsqueeze(-2) / torch.where(tied, one, span).unsqueeze(-1)
    w = torch.where((in_face == 0) | tied.unsqueeze(-1), torch.zeros_like(w), w)
    c = in_face * (w - (in_face * w).sum(dim=-1, keepdim=True) / sizes.unsqueeze(-1))
    # A tied face has no direction of its own: go towards its lowest index.
    towards_first = torch.zeros(k, k, dtype=s.dtype, device=s.device)
    towards_first[:, 0].fill_(1)
    towards_first = in_face * (towards_first - 1 / sizes.unsqueeze(-1))
    c = torch.where(tied.unsqueeze(-1), towards_first, c)
    length = c.square().sum(dim=-1, keepdim=True).sqrt()
    n = c / torch.where(length == 0, one, length)
    r_m = (radius.square() - (1 / sizes - 1 / k)).clamp(min=0).sqrt()
    p = in_face / sizes.unsqueeze(-1) + r_m.unsqueeze(-1) * n

    # Largest m >= 2 without a negative entry (for m = 2 that always holds). The smallest entry
    # of row m is its m-th; entries at rounding distance below zero count as zero.
    slack = 4 * torch.finfo(s.dtype).eps
    last = torch.diagonal(p, dim1=-2, dim2=-1)
    ok = (last >= -slack) & (sizes >= 2)
    m = torch.where(ok, sizes, torch.full_like(sizes, min(2, k))).amax(dim=-1, keepdim=True).long()
    row = (m - 1).unsqueeze(-1).expand(*m.shape[:-1], 1, k)
    p_sphere = p.gather(-2, row).squeeze(-2).clamp(min=0)
    n_sphere = n.gather(-2, row).squeeze(-2)
    face = in_face.expand(*p.shape).gather(-2, row).squeeze(-2)
    face_span = torch.where(tied, one, span).gather(-1, m - 1)
    norm_c = length.squeeze(-1).gather(-1, m - 1) * face_span
    gain = r_m.expand_as(s).gather(-1, m - 1) / torch.where(norm_c == 0, one, norm_c)
    return p_sphere, face, n_sphere, gain, tied.gather(-1, m - 1)


class _SparsestMax(torch.autograd.Function):
    """Closed-form forward and Jacobian product over the last axis."""

    @staticmethod
    def forward(ctx: Any, z: Tensor, radius: Tensor) -> Tensor:
        p, mask, n, gain = _solve(z, radius)
        ctx.save_for_backward(mask, n, gain, z)
        return p

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, None]:
        if torch.is_grad_enabled():
            with torch.no_grad():
                product = _SparsestMax._product(ctx, grad)
            refused: Tensor = _Refused.apply(product, grad, ctx.saved_tensors[3])
            return refused, None
        return _SparsestMax._product(ctx, grad), None

    @staticmethod
    def _product(ctx: Any, grad: Tensor) -> Tensor:
        mask, n, gain, _ = ctx.saved_tensors
        g = mask * grad
        g = mask * (g - g.sum(dim=-1, keepdim=True) / mask.sum(dim=-1, keepdim=True))
        product: Tensor = gain * (g - n * (n * g).sum(dim=-1, keepdim=True))
        return product


class _Refused(torch.autograd.Function):
    """Connects a gradient to what it depends on, and refuses to be differentiated."""

    @staticmethod
    def forward(ctx: Any, product: Tensor, grad: Tensor, z: Tensor) -> Tensor:  # noqa: ARG004
        return product.clone()

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[None, None, None]:  # noqa: ARG004
        raise RuntimeError("SparsestMax has no second derivatives")


def sparsestmax(z: Tensor, radius: float | Tensor, dim: int = -1) -> Tensor:
    """Project logits on the part of the simplex that is at least ``radius`` from its centre.

    Args:
        z: Logits of any shape; ``K = z.shape[dim]`` choices. Half precision is computed in float32.
        radius: r in [0, sqrt((K-1)/K)]; larger values act as the largest. A number, or a tensor
            that broadcasts against ``z`` with ``dim`` removed. Carries no gradient.
        dim: The axis of the choices.

    Returns:
        Gate ratios of the shape and dtype of ``z``: non-negative, summing to 1 over ``dim``.
        r = 0 is sparsemax; at r = sqrt((K-1)/K) the result is an exact one-hot vector. Ties go to
        the lowest index. A NaN logit makes its whole gate NaN.

    Raises:
        TypeError: ``z`` is not floating-point, or ``radius`` is neither a number nor a tensor.
        ValueError: ``dim`` is out of range or empty, or ``radius`` is a negative or NaN number.

    Source: arXiv 1903.03793, section 3.2. Unlike the reference implementation, this solves the
    definition exactly, even when sparsemax already lies on a face of the simplex.
    """
    if not z.is_floating_point():
        raise TypeError(f"sparsestmax needs floating logits, got {z.dtype}")
    if z.dim() == 0 or not -z.dim() <= dim < z.dim():
        raise ValueError(f"dim {dim} is out of range for logits of shape {tuple(z.shape)}")
    if z.shape[dim] == 0:
        raise ValueError(f"sparsestmax needs at least one choice, got shape {tuple(z.shape)}")
    if not isinstance(radius, Tensor | int | float):
        raise TypeError(f"radius must be a number or a tensor, got {radius!r}")
    if not isinstance(radius, Tensor) and not radius >= 0:
        raise ValueError(f"radius must be a number >= 0, got {radius}")
    work = z.float() if z.dtype in (torch.float16, torch.bfloat16) else z
    last = dim in (-1, z.dim() - 1)
    work = work if last else work.movedim(dim, -1)
    r = torch.as_tensor(radius, dtype=work.dtype, device=work.device).detach().unsqueeze(-1)
    p: Tensor = _SparsestMax.apply(work, r)
    p = p if last else p.movedim(-1, dim)
    return p if p.dtype == z.dtype else p.to(z.dtype)
