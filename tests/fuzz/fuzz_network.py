"""The network of a graph: modules in a ModuleDict, and a forward that walks the spec."""

from __future__ import annotations

from typing import Any

import torch
from fuzz_graphs import Alias, Conv, Graph, Node, Norm
from fuzz_parameters import Parameters
from torch import Tensor, nn
from torch.nn import functional as F

from ssn_prune import SSN1d, SSN2d, SSN3d, SwitchNorm1d, SwitchNorm2d, SwitchNorm3d
from ssn_prune.normalizer import Normalizer

_CONVS = (nn.Linear, nn.Conv1d, nn.Conv2d, nn.Conv3d)
_TRANSPOSED = (None, nn.ConvTranspose1d, nn.ConvTranspose2d, nn.ConvTranspose3d)
_FUNCTIONS = (F.linear, F.conv1d, F.conv2d, F.conv3d)
_FUNCTIONS_TRANSPOSED = (None, F.conv_transpose1d, F.conv_transpose2d, F.conv_transpose3d)
_POOLS = {
    "max_pool": (None, F.max_pool1d, F.max_pool2d, F.max_pool3d),
    "avg_pool": (None, F.avg_pool1d, F.avg_pool2d, F.avg_pool3d),
    "adaptive_avg": (None, F.adaptive_avg_pool1d, F.adaptive_avg_pool2d, F.adaptive_avg_pool3d),
    "adaptive_max": (None, F.adaptive_max_pool1d, F.adaptive_max_pool2d, F.adaptive_max_pool3d),
}
_NORMS = {
    "frozen": (SSN1d, SSN2d, SSN3d),
    "simplex": (SSN1d, SSN2d, SSN3d),
    "softmax": (SwitchNorm1d, SwitchNorm2d, SwitchNorm3d),
    "batch": (nn.BatchNorm1d, nn.BatchNorm2d, nn.BatchNorm3d),
}
ACTIVATIONS = {"relu": F.relu, "leaky_relu": F.leaky_relu, "hardswish": F.hardswish}


class SpecNetwork(nn.Module):
    """Runs a graph; ``parts`` are its modules, ``steps`` are modules without parameters."""

    def __init__(self, graph: Graph) -> None:
        super().__init__()
        self.graph = graph
        self.parts = nn.ModuleDict()
        for name, module in graph.modules:
            self.parts[name] = self._made(module)
        kinds = {"identity": nn.Identity, "dropout": nn.Dropout}
        named = {str(i): kinds[n.op]() for i, n in enumerate(graph.nodes) if n.op in kinds}
        self.steps = nn.ModuleDict(named)

    def _made(self, module: Conv | Norm | Alias) -> nn.Module:
        if isinstance(module, Alias):
            return self.parts[module.of]
        if isinstance(module, Norm):
            return _norm(module)
        made = _conv(module)
        if module.weight_from:
            made.weight = self.parts[module.weight_from].weight
        if module.bias_from:
            made.bias = self.parts[module.bias_from].bias
        return made

    def forward(self, input: Tensor) -> Any:
        values: list[Any] = [input]
        for index, node in enumerate(self.graph.nodes):
            values.append(self._step(index, node, [values[v] for v in node.inputs]))
        outputs = tuple(values[v] for v in self.graph.outputs)
        return outputs[0] if len(outputs) == 1 else outputs

    def _step(self, index: int, node: Node, operands: list[Any]) -> Any:
        x = operands[0]
        if node.op == "call":
            return self.parts[node.module](x)
        if node.op in ("functional", "bare"):
            conv = self.parts[node.module]
            bias = conv.bias if node.op == "functional" else None
            return _function(self.graph.named(node.module), x, conv.weight, bias)
        if node.op in ACTIVATIONS:
            return ACTIVATIONS[node.op](x, inplace=bool(node.args and node.args[0]))
        if node.op in _POOLS:
            return _POOLS[node.op][x.dim() - 2](x, *node.args)
        if str(index) in self.steps:
            return self.steps[str(index)](x)
        if node.op == "add":
            return operands[0] + operands[1]
        if node.op == "cat":
            return torch.cat(operands, 1)
        if node.op == "chunk":
            return torch.chunk(x, node.args[0], 1)
        if node.op == "pick":
            return x[node.args[0]]
        if node.op == "flatten":
            return torch.flatten(x, 1)
        if node.op == "upsample":
            return F.interpolate(x, scale_factor=float(node.args[0]), mode="nearest")
        raise ValueError(node.op)


def build(graph: Graph, parameters: Parameters) -> SpecNetwork:
    """The float32 network in evaluation mode."""
    network = SpecNetwork(graph)
    with torch.no_grad():
        for name, module in graph.modules:
            if not isinstance(module, Alias):
                _fill(network.parts[name], module, parameters[name])
    return network.eval()


def _fill(target: nn.Module, module: Conv | Norm, tensors: dict[str, Tensor]) -> None:
    frozen = isinstance(module, Norm) and module.kind == "frozen"
    for name, value in tensors.items():
        if getattr(target, name, None) is not None and not (frozen and name.endswith("_weight")):
            getattr(target, name).copy_(value)
    if frozen:
        mean, var = (Normalizer(ratios.index(1.0)) for ratios in (module.mean, module.var))
        target.fix(mean, var)


def _conv(conv: Conv) -> nn.Module:
    if conv.dim == 0:
        return nn.Linear(conv.inputs, conv.outputs, bias=conv.bias)
    settings: dict[str, Any] = {
        "stride": conv.stride,
        "padding": conv.padding,
        "dilation": conv.dilation,
        "groups": conv.groups,
        "bias": conv.bias,
    }
    kind = _CONVS[conv.dim]
    if conv.transposed:
        kind = _TRANSPOSED[conv.dim]
        settings["output_padding"] = conv.output_padding
    else:
        settings["padding_mode"] = conv.mode
    return kind(conv.inputs, conv.outputs, conv.kernel, **settings)


def _function(conv: Conv, x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
    if conv.dim == 0:
        return F.linear(x, weight, bias)
    if conv.transposed:
        return _FUNCTIONS_TRANSPOSED[conv.dim](
            x,
            weight,
            bias,
            conv.stride,
            conv.padding,
            conv.output_padding,
            conv.groups,
            conv.dilation,
        )
    return _FUNCTIONS[conv.dim](
        x, weight, bias, conv.stride, conv.padding, conv.dilation, conv.groups
    )


def _norm(norm: Norm) -> nn.Module:
    kind = _NORMS[norm.kind][norm.dim - 1]
    if not norm.switchable:
        return kind(norm.channels, eps=norm.eps, affine=norm.affine)
    return kind(
        norm.channels,
        eps=norm.eps,
        affine=norm.affine,
        correction=norm.correction,
        shared_gate=norm.tied,
    )
