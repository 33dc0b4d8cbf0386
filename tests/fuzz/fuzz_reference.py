"""The outputs that a graph must have: its spec evaluated in float64, by independent formulas.

Nothing here comes from the package under test. The normalizer is

    y = weight * (x - sum_k p_k mean_k) / sqrt(sum_k q_k var_k + eps) + bias,   k in IN, LN, BN

with mean_ln and var_ln over all entries of a sample (a corrected variance adds its correction), and
the running statistics for BN.

With ``jitter``, every operand, statistic and result is perturbed by up to one rounding unit. The
change of the output shows how well the graph is conditioned.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from fuzz_graphs import Conv, Graph, Node, Norm
from fuzz_parameters import Parameters
from torch import Tensor
from torch.nn import functional as F

Jitter = Callable[[Tensor], Tensor]

CONVS = (F.linear, F.conv1d, F.conv2d, F.conv3d)
TRANSPOSED = (None, F.conv_transpose1d, F.conv_transpose2d, F.conv_transpose3d)


def jitter_by(unit: float, seed: int) -> Jitter:
    """Relative noise of up to one ``unit`` on every number."""
    generator = torch.Generator().manual_seed(seed)

    def move(x: Tensor) -> Tensor:
        return x * (1 + unit * (2 * torch.rand(x.shape, generator=generator).double() - 1))

    return move


def evaluate(
    graph: Graph, parameters: Parameters, x: Tensor, jitter: Jitter | None = None
) -> list[Tensor]:
    """The outputs for one input."""
    values: list[Any] = [x]
    for node in graph.nodes:
        values.append(run_node(graph, node, parameters, values, jitter))
    return [values[v] for v in graph.outputs]


def run_node(
    graph: Graph, node: Node, parameters: Parameters, values: list[Any], jitter: Jitter | None
) -> Any:
    """The value of one node, given the values before it."""
    move = jitter or (lambda tensor: tensor)
    operands = [values[v] for v in node.inputs]
    if not node.module:
        return simple(node.op, operands, node.args)
    module = graph.named(node.module)
    tensors = {key: move(value) for key, value in parameters[node.module].items()}
    if isinstance(module, Norm):
        return move(normalize(module, tensors, move(operands[0]), move))
    bias = None if node.op == "bare" else tensors.get("bias")
    return move(convolve(module, tensors["weight"], bias, move(operands[0])))


def convolve(conv: Conv, weight: Tensor, bias: Tensor | None, x: Tensor) -> Tensor:
    """A convolution, transposed convolution or linear layer."""
    if conv.dim == 0:
        return F.linear(x, weight, bias)
    if conv.transposed:
        return TRANSPOSED[conv.dim](
            x,
            weight,
            bias,
            conv.stride,
            conv.padding,
            conv.output_padding,
            conv.groups,
            conv.dilation,
        )
    total = conv.dilation * (conv.kernel - 1)
    left = total // 2 if conv.padding == "same" else conv.padding
    right = total - left if conv.padding == "same" else conv.padding
    if left or right:
        mode = "constant" if conv.mode == "zeros" else conv.mode
        x = F.pad(x, [left, right] * conv.dim, mode=mode)
    return CONVS[conv.dim](x, weight, bias, conv.stride, 0, conv.dilation, conv.groups)


def normalize(norm: Norm, tensors: dict[str, Tensor], x: Tensor, move: Jitter) -> Tensor:
    """Any normalizer of the graph."""
    running_mean, running_var = tensors["running_mean"], tensors["running_var"]
    shape = (1, -1, *[1] * (x.dim() - 2))
    if norm.switchable:
        p, q = ratios(norm, tensors)
        found = statistics(x, running_mean, running_var, norm.correction, p, q)
        mean, var = (move(value) for value in found)
    else:
        mean, var = running_mean.expand(x.shape[:2]), running_var.expand(x.shape[:2])
    mean = mean.reshape(*x.shape[:2], *shape[2:])
    var = var.reshape(*x.shape[:2], *shape[2:])
    y = (x - mean) / torch.sqrt(var + norm.eps)
    if norm.affine:
        y = y * tensors["weight"].reshape(shape) + tensors["bias"].reshape(shape)
    return y


def ratios(norm: Norm, tensors: dict[str, Tensor]) -> tuple[list[float], list[float]]:
    """The ratios of the mean and the variance gate."""
    if norm.kind != "softmax":
        return list(norm.mean), list(norm.var)
    weights = [tensors[gate].exp() for gate in ("mean_weight", "var_weight")]
    if norm.tied:
        weights[1] = weights[0]
    p, q = ((w / w.sum()).tolist() for w in weights)
    return p, q


def statistics(
    x: Tensor,
    running_mean: Tensor,
    running_var: Tensor,
    correction: int,
    p: list[float],
    q: list[float],
) -> tuple[Tensor, Tensor]:
    """The mixed mean and variance, (N, C) each; statistics of ratio 0 are skipped."""
    planes = x.reshape(x.shape[0], x.shape[1], -1)
    positions = planes.shape[2]
    mean_in = planes.mean(2)
    centred = planes - mean_in.unsqueeze(2)
    var_in = (centred * centred).sum(2) / positions
    if correction and (q[0] or q[1]):
        var_in = var_in * positions / (positions - 1)
    mean_ln = mean_in.mean(1, keepdim=True).expand_as(mean_in)
    between = ((mean_in - mean_ln) ** 2).mean(1, keepdim=True)
    var_ln = (var_in.mean(1, keepdim=True) + between).expand_as(mean_in)
    means = (mean_in, mean_ln, running_mean.expand_as(mean_in))
    variances = (var_in, var_ln, running_var.expand_as(mean_in))
    mean = sum(r * m for r, m in zip(p, means, strict=True) if r)
    var = sum(r * v for r, v in zip(q, variances, strict=True) if r)
    return mean, var


def simple(op: str, operands: list[Any], args: tuple[int, ...]) -> Any:
    """The operations without parameters."""
    x = operands[0]
    axes = x.dim() - 2 if isinstance(x, Tensor) else 0
    if op == "relu":
        return x.clamp(min=0)
    if op == "leaky_relu":
        return torch.where(x > 0, x, 0.01 * x)
    if op == "hardswish":
        return x * (x + 3).clamp(0, 6) / 6
    if op == "add":
        return operands[0] + operands[1]
    if op == "cat":
        return torch.cat(operands, 1)
    if op == "chunk":
        return torch.chunk(x, args[0], 1)
    if op == "pick":
        return x[args[0]]
    if op in ("identity", "dropout"):
        return x
    if op == "flatten":
        return x.reshape(x.shape[0], -1)
    if op == "max_pool":
        return (None, F.max_pool1d, F.max_pool2d, F.max_pool3d)[axes](x, args[0], args[1])
    if op == "avg_pool":
        return (None, F.avg_pool1d, F.avg_pool2d, F.avg_pool3d)[axes](x, args[0], args[1])
    if op == "adaptive_avg":
        pools = (None, F.adaptive_avg_pool1d, F.adaptive_avg_pool2d, F.adaptive_avg_pool3d)
        return pools[axes](x, args[0])
    if op == "adaptive_max":
        pools = (None, F.adaptive_max_pool1d, F.adaptive_max_pool2d, F.adaptive_max_pool3d)
        return pools[axes](x, args[0])
    if op == "upsample":
        for axis in range(2, x.dim()):
            x = x.repeat_interleave(args[0], axis)
        return x
    raise ValueError(op)
