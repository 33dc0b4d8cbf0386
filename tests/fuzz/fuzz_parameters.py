"""The parameters of a graph: tensors drawn from its seed, with one generator per module.

Everything is drawn as float32 numbers held in float64, so that the float32 network, the float64
network and the reference have exactly the same parameters.
"""

from __future__ import annotations

import math
import zlib

import torch
from fuzz_graphs import Alias, Conv, Graph, Norm
from torch import Tensor

Parameters = dict[str, dict[str, Tensor]]


def draw_parameters(graph: Graph) -> Parameters:
    """Parameters by module and tensor name, in float64; shared tensors are the same objects."""
    drawn: Parameters = {}
    for name, module in graph.modules:
        draw_module(graph.seed, name, module, drawn)
    return drawn


def draw_module(seed: int, name: str, module: Conv | Norm | Alias, drawn: Parameters) -> None:
    """Add the tensors of one module to ``drawn``, which holds those of earlier ones."""
    generator = torch.Generator().manual_seed(seed * 1009 + zlib.crc32(name.encode()) % 1000003)
    if isinstance(module, Alias):
        drawn[name] = drawn[module.of]
    elif isinstance(module, Conv):
        drawn[name] = _conv(module, generator)
        for attribute, owner in (("weight", module.weight_from), ("bias", module.bias_from)):
            if owner:
                drawn[name][attribute] = drawn[owner][attribute]
    else:
        drawn[name] = _norm(module, generator, drawn)


def draw_input(graph: Graph, index: int = 0) -> Tensor:
    """Inputs of one call, in float64; each index gives different ones."""
    generator = torch.Generator().manual_seed(graph.seed * 1009 + 500 + index)
    return torch.randn(graph.input_shape, generator=generator).double()


def _single(values: Tensor) -> Tensor:
    return values.float().double()


def _uniform(count: int, low: float, high: float, generator: torch.Generator) -> Tensor:
    return low + (high - low) * torch.rand(count, generator=generator, dtype=torch.float64)


def _signs(count: int, generator: torch.Generator) -> Tensor:
    return 1 - 2 * torch.randint(0, 2, (count,), generator=generator).double()


def _conv(conv: Conv, generator: torch.Generator) -> dict[str, Tensor]:
    first, second = conv.outputs, conv.inputs // conv.groups
    if conv.transposed:
        first, second = conv.inputs, conv.outputs // conv.groups
    kernel = [conv.kernel] * conv.dim
    weight = torch.randn((first, second, *kernel), generator=generator, dtype=torch.float64)
    weight = weight / math.sqrt(conv.inputs // conv.groups * conv.kernel**conv.dim)
    gain = 10 ** _uniform(conv.outputs, *conv.gain, generator)
    if conv.transposed:  # (inputs, outputs / groups): a row of the table per group
        gain = gain.view(conv.groups, 1, second).expand(-1, first // conv.groups, -1)
        weight = weight * gain.reshape(first, second, *[1] * conv.dim)
    else:
        weight = weight * gain.view(-1, 1, *[1] * conv.dim)
    tensors = {"weight": _single(weight)}
    if conv.bias:
        tensors["bias"] = _single(_uniform(conv.outputs, -conv.offset, conv.offset, generator))
    return tensors


def _norm(norm: Norm, generator: torch.Generator, drawn: Parameters) -> dict[str, Tensor]:
    count = norm.channels
    var = _single(10 ** _uniform(count, *norm.spread, generator))
    mean = _uniform(count, -norm.offset, norm.offset, generator)
    bias = drawn.get(norm.follows, {}).get("bias")
    if bias is not None and len(bias) == count:
        mean = bias + var.sqrt().clamp(max=1) * _uniform(count, -0.5, 0.5, generator)
    tensors = {"running_mean": _single(mean), "running_var": var}
    if norm.affine:
        weight = _uniform(count, 0.5, 1.5, generator) * _signs(count, generator)
        if norm.matched and (norm.var[2] or not norm.switchable):
            weight = weight * (var + norm.eps).sqrt()
        if norm.zeros:
            weight[0] = 0
        tensors["weight"] = _single(weight)
        tensors["bias"] = _single(_uniform(count, -0.5, 0.5, generator))
    for gate, ratios in (("mean_weight", norm.mean), ("var_weight", norm.var)):
        values = torch.tensor(ratios, dtype=torch.float64)
        tensors[gate] = _single(values.log()) if norm.kind == "softmax" else values
    return tensors
