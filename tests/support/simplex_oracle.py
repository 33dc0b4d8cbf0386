"""Brute force for SparsestMax: every face of the simplex, searched numerically in float64.

It does not use the closed form. On the face with m corners, p = centre + rho * d with a
unit vector d in the face's plane. For a given d the objective is a parabola in rho, so the best
feasible rho is known; the directions are searched on a dense grid, and the best one near each
corner is refined by a shrinking local grid. A minimum on the edge of a face is an inner minimum
of a smaller face, so only smooth minima have to be found.
"""

import itertools
import math

import torch

RESOLUTION = 1e-12  # of the objective


def _plane_basis(m):
    """Orthonormal rows that span the plane sum = 0 in R^m."""
    centred = torch.eye(m, dtype=torch.float64) - 1 / m
    return torch.linalg.svd(centred).Vh[: m - 1]


def _direction_grid(m):
    corners = torch.eye(m, dtype=torch.float64) - 1 / m
    corners = torch.cat([corners, -corners]) @ _plane_basis(m).T
    if m == 2:
        return torch.tensor([[1.0], [-1.0]], dtype=torch.float64)
    if m == 3:
        angle = torch.arange(720, dtype=torch.float64) * (2 * math.pi / 720)
        grid = torch.stack([angle.cos(), angle.sin()], 1)
    else:  # a Fibonacci lattice on the sphere
        i = torch.arange(4000, dtype=torch.float64) + 0.5
        height, angle = 1 - 2 * i / 4000, i * (math.pi * (3 - math.sqrt(5)))
        ring = (1 - height**2).sqrt()
        grid = torch.stack([ring * angle.cos(), ring * angle.sin(), height], 1)
    return torch.cat([grid, corners / corners.norm(dim=1, keepdim=True)])


def _along(direction, z, radius):
    """Best feasible p = 1/m + rho * direction and its objective (inf if there is none)."""
    m = z.shape[-1]
    falling = direction.clamp(max=-1e-300)
    exit_rho = (-1 / (m * falling)).amin(-1)
    exact = ((z - 1 / m) * direction).sum(-1)
    rho = torch.maximum(exact, radius).minimum(exit_rho)
    p = (1 / m + rho.unsqueeze(-1) * direction).clamp(min=0)  # -5e-17 at an exit
    return p, ((p - z) ** 2).sum(-1).masked_fill(exit_rho < radius, math.inf)


def _search_face(z, radius):
    """The best point inside one face; z (B, m), radius (B,) within the face."""
    m, basis = z.shape[1], _plane_basis(z.shape[1])
    grid = _direction_grid(m)
    _, value = _along(grid @ basis, z.unsqueeze(1), radius.unsqueeze(1))
    near = (grid @ basis).argmax(1)  # the corner that a direction points to
    starts = [value.masked_fill(near != corner, math.inf).argmin(1) for corner in range(m)]
    best = grid[torch.stack(starts, 1)]  # (B, m, m-1)
    if m > 2:
        offsets = torch.tensor(list(itertools.product(range(-3, 4), repeat=m - 1))).double() / 3
        width = 0.1
        while width > 1e-10:
            trial = best.unsqueeze(2) + width * offsets
            trial = trial / trial.norm(dim=-1, keepdim=True)
            _, value = _along(trial @ basis, z[:, None, None], radius[:, None, None])
            chosen = value.argmin(2)[..., None, None].expand(-1, -1, 1, m - 1)
            best = trial.gather(2, chosen).squeeze(2)
            width *= 0.5
    p, value = _along(best @ basis, z.unsqueeze(1), radius.unsqueeze(1))
    winner = value.argmin(1)
    rows = torch.arange(len(z))
    return p[rows, winner], value[rows, winner]


def brute_force(z, radius):
    """Minimise ||p - z||^2 over the simplex with ||p - u|| >= radius; z (B, K), radius (B,)."""
    k = z.shape[1]
    best_p = torch.zeros_like(z)
    best_value = torch.full_like(radius, math.inf)
    for m in range(1, k + 1):
        inside = (radius**2 - (1 / m - 1 / k)).clamp(min=0).sqrt()
        for face in itertools.combinations(range(k), m):
            corners = list(face)
            p, found = torch.zeros_like(z), torch.zeros_like(radius)
            if m == 1:
                p[:, corners] = 1.0
            else:
                p[:, corners], found = _search_face(z[:, corners], inside)
            value = ((p - z) ** 2).sum(1).masked_fill(found == math.inf, math.inf)
            better = value < best_value
            best_p[better], best_value[better] = p[better], value[better]
    return best_p, best_value
