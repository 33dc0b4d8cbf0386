"""The radius of an unfinished gate: a number of the instance is what the code uses."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from foreign_networks import X, checked
from torch import Tensor, nn

from ssn_prune.surgery.from_reference import adopt_layers


class Sparse(nn.Module):
    """SSN over (N, C, H, W) with three gates' entries; the gate is the definition, by search."""

    def __init__(self, channels: int, keep: dict[str, Any], use: str) -> None:
        super().__init__()
        self.eps, self.use = 1e-5, use
        self.weight = nn.Parameter(torch.linspace(0.5, 1.5, channels).view(1, -1, 1, 1))
        self.bias = nn.Parameter(torch.linspace(-0.3, 0.3, channels).view(1, -1, 1, 1))
        self.mean_weight = nn.Parameter(torch.tensor([0.6, 0.3, 0.2]))
        self.var_weight = nn.Parameter(torch.tensor([0.2, 0.3, 0.5]))
        self.register_buffer("running_mean", torch.full((1, channels, 1), 0.1))
        self.register_buffer("running_var", torch.full((1, channels, 1), 0.9))
        for gate in ("mean", "var"):
            self.register_buffer(f"{gate}_fixed", torch.zeros(1, dtype=torch.int64))
        for name, value in keep.items():
            if isinstance(value, Tensor):
                self.register_buffer(name, value)
            else:
                setattr(self, name, value)

    def gate(self, name: str) -> Tensor:
        logits = getattr(self, f"{name}_weight")
        if bool(getattr(self, f"{name}_fixed")):
            return logits
        # All entries stay positive here: sparsemax, then a push from the centre to the radius.
        ratios = logits - logits.mean() + 1 / 3
        assert bool((ratios > 0).all())
        away = ratios - 1 / 3
        radius = torch.as_tensor(getattr(self, self.use), dtype=logits.dtype)
        return 1 / 3 + away * torch.clamp(radius / away.norm(), min=1.0)

    def forward(self, x: Tensor) -> Tensor:
        planes = x.flatten(2)
        mean_in, var_in = planes.mean(2, keepdim=True), planes.var(2, keepdim=True)
        mean_ln = mean_in.mean(1, keepdim=True)
        var_ln = var_in.mean(1, keepdim=True) + mean_in.var(1, keepdim=True, unbiased=False)
        p, q = self.gate("mean"), self.gate("var")
        mean = p[0] * mean_in + p[1] * mean_ln + p[2] * self.running_mean
        var = q[0] * var_in + q[1] * var_ln + q[2] * self.running_var
        return ((planes - mean) / (var + self.eps).sqrt()).view_as(x) * self.weight + self.bias


BUFFER = torch.tensor([0.35])
KEPT: dict[str, tuple[dict[str, Any], str, float]] = {
    "a buffer": ({"radius": BUFFER}, "radius", 0.35),
    "a scalar buffer": ({"radius": BUFFER[0]}, "radius", 0.35),
    "a buffer of another name": ({"rad": BUFFER}, "rad", 0.35),
    "a number beside a buffer": ({"radius": BUFFER, "rad": 0.3}, "rad", 0.3),
    "a number, the buffer of another name": ({"rad": BUFFER, "radius": 0.3}, "radius", 0.3),
    "an integer beside a buffer": ({"radius": BUFFER, "rad": 0}, "rad", 0.0),
    "only a number": ({"rad": 0.3}, "rad", 0.3),
}


@pytest.mark.parametrize("name", KEPT)
def test_the_radius_that_the_code_uses_is_followed(name: str) -> None:
    keep, use, radius = KEPT[name]
    torch.manual_seed(0)
    layers = nn.Conv2d(3, 8, 3), Sparse(8, keep, use), nn.Conv2d(8, 4, 1)
    model = nn.Sequential(*layers).eval()
    assert float(adopt_layers(model)[1].radius) == pytest.approx(radius)
    assert checked(model, X).compared
