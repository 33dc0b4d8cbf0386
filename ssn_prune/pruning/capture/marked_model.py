"""The marked model: a copy of a network in which every switchable layer is one opaque operator.

The exporter cannot look into that operator, so the captured graph shows every call of every layer,
whatever the Python code around them does. The marked model shares the network's tensors.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn.modules.conv import _ConvNd

from ssn_prune.nn.switchable import SwitchableNorm
from ssn_prune.pruning.capture.records import BiasedModule
from ssn_prune.surgery.copying import copy_replacing


@torch.library.custom_op("ssn_prune::switchable_norm", mutates_args=())
def _marker_op(x: Tensor, name: str) -> Tensor:  # noqa: ARG001  # read from the graph
    return x.clone()


@_marker_op.register_fake
def _(x: Tensor, name: str) -> Tensor:  # noqa: ARG001  # read from the graph
    return torch.empty_like(x)


def is_marker(node: torch.fx.Node) -> bool:
    """Whether a node of a captured graph is a call of a switchable layer."""
    return node.target is torch.ops.ssn_prune.switchable_norm.default


class Marker(nn.Module):
    """Takes the place of a switchable layer.

    Args:
        name: The layer's first path.
    """

    def __init__(self, name: str) -> None:
        super().__init__()
        self.layer_name = name

    def forward(self, input: Tensor) -> Tensor:  # may be called by this keyword
        """Return a copy of the input, (N, C, *)."""
        y: Tensor = torch.ops.ssn_prune.switchable_norm(input, self.layer_name)
        return y


def mark_layers(model: nn.Module) -> nn.Module:
    """Copy ``model``, in evaluation mode, with markers in the place of its switchable layers.

    ``model`` is not changed. Convolutions and linear layers without bias get a zero bias. If that
    bias then appears in a call, the call really uses the module's ``bias``, whatever its class, and
    a fold may create one.
    """
    markers: list[tuple[nn.Module, nn.Module]] = []
    for name, layer in model.named_modules():
        if isinstance(layer, SwitchableNorm):
            marker = Marker(name)
            markers.append((layer, marker))
    marked = copy_replacing(model, markers)
    marked.eval()
    for module in marked.modules():
        if isinstance(module, BiasedModule) and module._parameters.get("bias", module) is None:
            features = module.out_channels if isinstance(module, _ConvNd) else module.out_features
            zeros = torch.zeros(features, dtype=module.weight.dtype)
            module.bias = nn.Parameter(zeros.to(module.weight.device))
    return marked
