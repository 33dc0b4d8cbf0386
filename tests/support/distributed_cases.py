"""What one process computes on its rows of a batch; all rows together give the reference."""

from __future__ import annotations

import itertools
from dataclasses import dataclass

import torch
from torch import nn

import ssn_prune.nn.ssn as ssn
import ssn_prune.nn.switch_norm as switch_norm
from ssn_prune.nn.switchable import SwitchableNorm
from ssn_prune.normalizer import Normalizer
from ssn_prune.training.parameters import gate_parameters, param_groups

SAMPLES = 8
UNEQUAL = slice(0, 3), slice(3, SAMPLES)
EQUAL = slice(0, 4), slice(4, SAMPLES)
ALL = slice(0, SAMPLES)
STEPS, FROZEN_FROM = 10, 6  # the ramp reaches the vertices at step 6


@dataclass(frozen=True)
class Case:
    """A layer on a batch of SAMPLES; ``pair`` is None for soft gates, all ratios non-zero."""

    layer: str
    size: tuple[int, ...]  # C and the spatial axes
    pair: tuple[str, str] | None = None
    correction: int = 0

    def __str__(self):
        pair = "/".join(self.pair) if self.pair else "soft"
        return f"{self.layer}-{'x'.join(map(str, self.size))}-{pair}-{self.correction}"


def _cases():
    soft = [
        ("SSN1d", (4,)),
        ("SSN1d", (4, 6)),
        ("SSN2d", (4, 3, 5)),
        ("SSN2d", (3, 9, 9)),  # over 64 positions the fused CPU passes are used
        ("SSN3d", (4, 2, 3, 2)),
        ("SwitchNorm2d", (4, 3, 5)),
    ]
    for (layer, size), correction in itertools.product(soft, (0, 1)):
        if len(size) > 1 or not correction:
            yield Case(layer, size, None, correction)
    pairs = itertools.product(("IN", "LN", "BN"), repeat=2)
    for pair, correction in itertools.product(pairs, (0, 1)):
        yield Case("SSN2d", (4, 3, 5), pair, correction)
    for layer, size in (("SSN1d", (4,)), ("SSN1d", (4, 6)), ("SSN3d", (4, 2, 3, 2))):
        for pair in (("BN", "BN"), ("LN", "BN"), ("BN", "IN")):
            yield Case(layer, size, pair, 0)


CASES = list(_cases())


def draw(*shape, seed=0):
    """Noise whose samples and channels differ in mean and spread."""
    generator = torch.Generator().manual_seed(seed)
    noise = torch.randn(*shape, generator=generator, dtype=torch.float64)
    spread = torch.rand(*shape[:2], *[1] * (len(shape) - 2), generator=generator).double()
    return noise * (0.5 + spread) + 3 * spread


def make_layer(case):
    generator = torch.Generator().manual_seed(1)
    home = ssn if case.layer.startswith("SSN") else switch_norm
    layer = getattr(home, case.layer)(case.size[0], correction=case.correction, dtype=torch.float64)
    with torch.no_grad():
        for name, tensor in layer.state_dict().items():
            if name in ("weight", "bias", "running_mean", "running_var"):
                tensor.uniform_(0.5, 1.5, generator=generator)
        layer.mean_weight.copy_(torch.tensor([0.4, 0.1, 0.3]))
        layer.var_weight.copy_(torch.tensor([0.2, 0.3, 0.45]))
    if case.pair is not None:
        layer.fix(*(Normalizer[name] for name in case.pair))
    return layer


def layer_results(layer, x, weights):
    """Output, gradients of sum(weights * output), and running statistics."""
    x = x.clone().requires_grad_()
    y = layer(x)
    (weights * y).sum().backward()
    results = {"output": y.detach(), "input": x.grad}
    results |= {name: p.grad for name, p in layer.named_parameters()}
    return results | {n: b.clone() for n, b in layer.named_buffers() if n.startswith("running")}


def run_case(case, rows, prepare=lambda layer: layer):
    x, weights = (draw(SAMPLES, *case.size, seed=seed)[rows] for seed in (0, 1))
    return layer_results(prepare(make_layer(case)), x, weights)


class ResidualNetwork(nn.Module):
    """A stem and one residual block over (N, 2, 6, 6)."""

    def __init__(self):
        super().__init__()
        self.stem = nn.Sequential(nn.Conv2d(2, 4, 3, padding=1, bias=False), ssn.SSN2d(4))
        self.body = nn.Sequential(
            nn.Conv2d(4, 4, 3, padding=1, bias=False),
            ssn.SSN2d(4, correction=1),
            nn.ReLU(),
            nn.Conv2d(4, 4, 3, padding=1, bias=False),
            ssn.SSN2d(4, zero_init=True),
        )
        self.fc = nn.Linear(4, 3)

    def forward(self, x):
        x = torch.relu(self.stem(x))
        return self.fc(torch.relu(x + self.body(x)).mean((2, 3)))


def residual_network():
    torch.manual_seed(5)
    model = ResidualNetwork().double()
    with torch.no_grad():
        for layer in (model.stem[1], model.body[1]):
            layer.mean_weight.uniform_(0.8, 1.2)
            layer.var_weight.uniform_(0.8, 1.2)
    return model


def train(model, rows):
    """Train for STEPS steps, with all gates one-hot halfway; return the gate gradients of each."""
    groups = param_groups(model, lr=0.1, weight_decay=1e-4, gate_lr_ratio=5.0)
    gates = gate_parameters(model)
    optimizer = torch.optim.SGD(groups, lr=0.1, momentum=0.9)
    gradients = []
    for step in range(STEPS):
        ssn.set_radius(model, 0.82 * step / FROZEN_FROM)
        x = draw(SAMPLES, 2, 6, 6, seed=10 + step)[rows]
        labels = (torch.arange(SAMPLES) % 3)[rows]
        optimizer.zero_grad()
        nn.functional.cross_entropy(model(x), labels).backward()
        gradients.append(torch.stack([gate.grad.clone() for gate in gates]))
        optimizer.step()
    return gradients


def trained_state(model):
    """Everything that training changes, after the radius schedule has reset frozen gates."""
    state = {name: value.clone() for name, value in model.state_dict().items()}
    layers = [m for m in model.modules() if isinstance(m, SwitchableNorm)]
    state["gates"] = torch.stack([gate for layer in layers for gate in layer.gates()]).detach()
    return state


def sizes_of_other_maps(rank):
    """Rows and spatial sizes that differ between the processes."""
    return ((3, 4, 2, 5), (5, 4, 4, 4))[rank]
