"""The reference layer as its code computes it, rewritten from its description.

It divides variances by n - 1, uses E[x^2] - E[x]^2 for LN and BN, and solves the gate face by face
with conditions that the host evaluates: a dozen passes over the activation in float32.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn


def sparsemax(z: Tensor) -> Tensor:
    """The projection of K logits on the simplex."""
    s = z.sort(descending=True).values
    sizes = torch.arange(1, len(z) + 1, device=z.device)
    sums = s.cumsum(0)
    size = (1 + sizes * s > sums).sum()
    return (z - (sums[size - 1] - 1) / size).clamp(min=0)


def sparsestmax(z: Tensor, radius: Tensor) -> Tensor:
    """Push away from the centre of the face, project, and repeat on the smaller face."""
    p, square = sparsemax(z), radius.square()
    while bool(p.max() < 1):  # waits for the device, as the next two conditions
        face = (p > 0).to(z.dtype)
        away = p - face / face.sum()
        if bool(away.norm() >= square.clamp(min=0).sqrt()):
            return p
        pushed = face / face.sum() + square.clamp(min=0).sqrt() * away / away.norm()
        if bool(pushed.min() >= 0):
            return pushed
        p = sparsemax(pushed)
        smaller = (p > 0).to(z.dtype)
        square = square - (smaller / smaller.sum() - face / face.sum()).square().sum()
    return p


class WrittenAnew(nn.Module):
    """SSN over (N, C, H, W)."""

    def __init__(self, features: int, eps: float = 1e-5, momentum: float = 0.9) -> None:
        super().__init__()
        self.eps, self.momentum = eps, momentum
        self.weight = nn.Parameter(torch.ones(1, features, 1, 1))
        self.bias = nn.Parameter(torch.zeros(1, features, 1, 1))
        self.mean_weight = nn.Parameter(torch.tensor([0.2, 0.1, 0.3]))
        self.var_weight = nn.Parameter(torch.tensor([0.1, 0.3, 0.2]))
        self.register_buffer("radius", torch.tensor(0.2))
        self.register_buffer("running_mean", torch.zeros(1, features, 1))
        self.register_buffer("running_var", torch.ones(1, features, 1))

    def forward(self, x: Tensor) -> Tensor:
        """Normalize with the statistics of the batch."""
        n, c, h, w = x.shape
        flat = x.float().reshape(n, c, h * w)
        mean_in = flat.mean(-1, keepdim=True)
        var_in = flat.var(-1, keepdim=True)
        temp = var_in + mean_in.square()
        mean_ln, mean_bn = mean_in.mean(1, keepdim=True), mean_in.mean(0, keepdim=True)
        var_ln = temp.mean(1, keepdim=True) - mean_ln.square()
        var_bn = temp.mean(0, keepdim=True) - mean_bn.square()
        self.running_mean.mul_(self.momentum).add_((1 - self.momentum) * mean_bn.detach())
        self.running_var.mul_(self.momentum).add_((1 - self.momentum) * var_bn.detach())
        p = sparsestmax(self.mean_weight, self.radius)
        q = sparsestmax(self.var_weight, self.radius)
        mean = p[0] * mean_in + p[1] * mean_ln + p[2] * mean_bn
        var = q[0] * var_in + q[1] * var_ln + q[2] * var_bn
        flat = (flat - mean) / (var + self.eps).sqrt()
        return (flat.reshape(n, c, h, w) * self.weight + self.bias).to(x.dtype)


def with_written_anew(model: nn.Module) -> nn.Module:
    """Every BatchNorm2d replaced, in place."""
    for parent in list(model.modules()):
        for name, child in parent.named_children():
            if isinstance(child, nn.BatchNorm2d):
                setattr(parent, name, WrittenAnew(child.num_features))
    return model
