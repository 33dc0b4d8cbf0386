"""The graph is as lean as torch's own optimisation makes it."""

from __future__ import annotations

from collections import Counter

import onnx_ir as ir
import pytest
import torch
from networks import BN, IN, LN, Lambda, trained_layer
from torch import Tensor, nn

from ssn_prune import prune
from ssn_prune.normalizer import NormalizerPair
from ssn_prune.onnx_export.optimizing import optimize
from ssn_prune.pruning.capture.suppress_output import suppress_tracer_output


def operators(model: ir.Model) -> Counter[str]:
    return Counter(node.op_type for node in model.graph.all_nodes())


def translated(model: nn.Module, x: Tensor, *, optimized: bool) -> ir.Model:
    with suppress_tracer_output():
        shapes = ({0: torch.export.Dim("batch")},)
        program = torch.export.export(model.eval(), (x,), dynamic_shapes=shapes)
        exported = torch.onnx.export(program, dynamo=True, verbose=False, optimize=optimized)
    assert exported is not None
    return exported.model


def normalized(m: nn.Module, x: Tensor) -> Tensor:
    return torch.relu(m.b(torch.relu(m.a(m.c(x)))))


def shuffled(m: nn.Module, x: Tensor) -> Tensor:
    left, right = m.c(x).chunk(2, dim=1)
    both = torch.stack([left, right], dim=2).flatten(1, 2)
    return both[:, :, 1:][:, :, :-1]


def clamped(m: nn.Module, x: Tensor) -> Tensor:
    y = nn.functional.pad(x, (1, 1, 1, 1))
    y = m.c(y).clamp(min=-1).clamp(max=1)
    return m.zero + m.one * (torch.relu(torch.relu(y)) * 1.0 + 0.0)


def reshaped(m: nn.Module, x: Tensor) -> Tensor:
    y = m.c(x).float().flatten(2).reshape(x.shape[0], 4, -1).transpose(1, 2).transpose(1, 2)
    return y.unsqueeze(1).unsqueeze(1).squeeze(1).expand(-1, 1, -1, -1)


def updated(m: nn.Module, x: Tensor) -> Tensor:
    y = m.c(x).clone()
    y[:, :1] = y[:, 1:2]
    return torch.minimum(torch.maximum(y, x.new_zeros(())), x.new_ones(()))


@pytest.mark.parametrize("forward", [normalized, shuffled, clamped, reshaped, updated])
def test_operators_are_those_of_torchs_optimisation(forward: object) -> None:
    torch.manual_seed(0)
    x = torch.randn(2, 3, 8, 8)
    network: nn.Module = Lambda(
        forward,
        c=nn.Conv2d(3, 4, 3, padding=1),
        a=trained_layer(4, NormalizerPair(IN, LN)),
        b=trained_layer(4, NormalizerPair(LN, BN)),
    ).eval()
    network.register_buffer("one", torch.ones(()))
    network.register_buffer("zero", torch.zeros(()))
    if forward is normalized:
        network = prune(network, x).model
    reference = operators(translated(network, x, optimized=True))
    ours = translated(network, x, optimized=False)
    before = operators(ours)
    optimize(ours)
    assert operators(ours) == reference
    assert reference.total() < before.total()  # there was something to do
