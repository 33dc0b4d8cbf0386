"""Small networks and files that the tests share."""

from __future__ import annotations

import os
from pathlib import Path

import torch
from torch import Tensor, nn

from ssn_prune import SSN2d
from ssn_prune.nn.switchable import SwitchableNorm

PER_CHANNEL_SHAPES = {
    "weight": (1, -1, 1, 1),
    "bias": (1, -1, 1, 1),
    "running_mean": (1, -1, 1),
    "running_var": (1, -1, 1),
}


class TinyNetwork(nn.Module):
    """conv, SSN, ReLU, conv, SSN, pool, linear over (N, 1, 8, 8)."""

    input_size = (1, 8, 8)

    def __init__(self, num_classes: int = 3, channels: int = 4) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(1, channels, 3, padding=1, bias=False)
        self.sn1 = SSN2d(channels)
        self.conv2 = nn.Conv2d(channels, channels, 3, padding=1, bias=False)
        self.sn2 = SSN2d(channels)
        self.fc = nn.Linear(channels, num_classes)

    def forward(self, x: Tensor) -> Tensor:
        x = torch.relu(self.sn1(self.conv1(x)))
        return self.fc(self.sn2(self.conv2(x)).mean(dim=(2, 3)))


def one_hot_gates(layer: nn.Module, mean_index: int, var_index: int) -> None:
    """Freeze both gates of an SSN layer at a normalizer, in place."""
    with torch.no_grad():
        for gate, index in (("mean", mean_index), ("var", var_index)):
            weight = getattr(layer, f"{gate}_weight")
            weight.zero_()
            weight[index] = 1
            getattr(layer, f"{gate}_fixed").fill_(1)


def randomize(model: nn.Module, seed: int = 0) -> None:
    """Set affine parameters and running statistics of switchable layers as after training."""
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for layer in model.modules():
            if isinstance(layer, SwitchableNorm):
                layer.weight.uniform_(0.5, 1.5, generator=generator)
                layer.bias.uniform_(-0.5, 0.5, generator=generator)
                layer.running_mean.uniform_(-0.3, 0.3, generator=generator)
                layer.running_var.uniform_(0.2, 0.8, generator=generator)


def tiny_network(seed: int = 0) -> TinyNetwork:
    """A network whose gates are frozen: sn1 is IN/BN, sn2 is BN/BN."""
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        model = TinyNetwork()
    randomize(model, seed)
    one_hot_gates(model.sn1, 0, 2)
    one_hot_gates(model.sn2, 2, 2)
    return model.eval()


def reference_layout(model: nn.Module, *, flags: bool = True) -> dict[str, Tensor]:
    """The state dict as the reference implementation writes it."""
    layers = {n for n, m in model.named_modules() if isinstance(m, SwitchableNorm)}
    dropped = {"_extra_state"} if flags else {"_extra_state", "mean_fixed", "var_fixed", "radius"}
    state = {}
    for key, value in model.state_dict().items():
        layer, _, leaf = key.rpartition(".")
        if layer in layers and leaf in PER_CHANNEL_SHAPES:
            state[key] = value.reshape(PER_CHANNEL_SHAPES[leaf])
        elif layer not in layers or leaf not in dropped:
            state[key] = value
    return state


class Executes:
    """Unpickling this runs ``touch CANARY``."""

    def __init__(self, canary: Path) -> None:
        self.canary = canary

    def __reduce__(self) -> tuple[object, ...]:
        return os.system, (f"touch '{self.canary}'",)


class Evaluates:
    """Unpickling this calls ``eval`` or ``exec`` on code that makes CANARY."""

    def __init__(self, canary: Path, function: object = eval) -> None:
        self.canary, self.function = canary, function

    def __reduce__(self) -> tuple[object, ...]:
        return self.function, (f"__import__('pathlib').Path({str(self.canary)!r}).touch()",)
