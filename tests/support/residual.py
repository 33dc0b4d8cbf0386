"""A small residual network whose layers select several pairs, and its training."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from ssn_prune import SSN2d, SwitchNorm2d
from ssn_prune.training.parameters import clip_gate_gradients, param_groups


class Residual(nn.Module):
    """Stem, two blocks that share their second norm, and a head over (N, 3, 6, 6)."""

    def __init__(
        self,
        channels: int = 4,
        *,
        correction: int = 0,
        soft: bool = False,
        second: tuple[str, ...] = ("IN", "BN"),
    ) -> None:
        super().__init__()
        options = {"correction": correction}
        self.stem = nn.Conv2d(3, channels, 3, padding=1, bias=False)
        self.norm = SSN2d(channels, **options)
        self.conv1 = nn.Conv2d(channels, channels, 3, padding=1, bias=False)
        self.norm1 = SSN2d(channels, normalizers=second, **options)
        self.conv2 = nn.Conv2d(channels, channels, 3, padding=1, bias=False)
        self.norm2 = SSN2d(channels, zero_init=True, **options)
        self.again = self.norm2
        self.down = nn.Sequential(nn.Conv2d(channels, channels, 1), SSN2d(channels, **options))
        self.soft = SwitchNorm2d(channels, **options) if soft else nn.Identity()
        self.drop = nn.Dropout(0.1)
        self.fc = nn.Linear(channels, 3)

    def forward(self, x: Tensor) -> Tensor:
        x = torch.relu(self.norm(self.stem(x)))
        x = torch.relu(self.norm2(self.conv2(torch.relu(self.norm1(self.conv1(x))))) + self.down(x))
        x = self.soft(torch.relu(self.again(self.conv2(x)) + x))
        return self.fc(self.drop(x).mean((2, 3)))


def residual(seed: int = 0, **options: object) -> Residual:
    """A float64 network with gates that differ from layer to layer."""
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        model = Residual(**options).double()
        with torch.no_grad():
            for name, parameter in model.named_parameters():
                if name.endswith(("mean_weight", "var_weight")):
                    parameter.normal_(1.0, 0.2)
    return model


def optimizer_of(model: nn.Module) -> torch.optim.Optimizer:
    """The reference recipe: momentum, weight decay, a tenth of the learning rate for gates."""
    return torch.optim.SGD(param_groups(model, 0.05, weight_decay=1e-3), momentum=0.9)


def train_step(model: nn.Module, optimizer: torch.optim.Optimizer, step: int) -> Tensor:
    """One step on a batch that depends on ``step`` only; returns the output."""
    generator = torch.Generator().manual_seed(step)
    dtype = model.fc.weight.dtype
    x = torch.randn(6, 3, 6, 6, generator=generator, dtype=torch.float64).to(dtype)
    labels = torch.randint(3, (6,), generator=generator)
    optimizer.zero_grad()
    y = model(x)
    nn.functional.cross_entropy(y, labels).backward()
    clip_gate_gradients(model)
    optimizer.step()
    return y.detach()
