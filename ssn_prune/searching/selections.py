"""A candidate of the search: the layers that get another pair, and the resulting network."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from ssn_prune.nn.single_gate import is_vertex
from ssn_prune.nn.ssn import SSN
from ssn_prune.nn.switchable import SwitchableNorm
from ssn_prune.normalizer import Normalizer, NormalizerPair
from ssn_prune.surgery.copying import copy_model, copy_replacing
from ssn_prune.surgery.freeze import selected_norm
from ssn_prune.surgery.round_gates import as_ssn

Changes = tuple[tuple[str, NormalizerPair], ...]
"""Layers that get another pair, in the network's order. An empty tuple is the original."""


@dataclass(frozen=True)
class Repair:
    """The repair of a layer at or after a change.

    Attributes:
        moments: New running mean and variance, (2, C); None if the layer does not use them.
        affine: Scale and shift of its outputs, (2, C), to merge into its weight and bias; None if
            it has no weight and bias of its own.
    """

    moments: Tensor | None
    affine: Tensor | None


Repairs = Mapping[str, Repair]
"""Repairs by layer."""


def on_cpu(repairs: Repairs) -> Repairs:
    """The repairs on the CPU."""

    def moved(part: Tensor | None) -> Tensor | None:
        return None if part is None else part.cpu()

    return {name: Repair(moved(one.moments), moved(one.affine)) for name, one in repairs.items()}


def switchable_layers(model: nn.Module) -> dict[str, SwitchableNorm]:
    """The switchable layers of a network, by their first path."""
    return {n: m for n, m in model.named_modules() if isinstance(m, SwitchableNorm)}


def pair_of(layer: SwitchableNorm) -> NormalizerPair | None:
    """The pair of a layer; None if its gates are not one-hot."""
    gates = [gate.tolist() for gate in layer.gates()]
    if not all(is_vertex(gate) for gate in gates):
        return None
    mean, var = (layer.normalizers[gate.index(max(gate))] for gate in gates)
    return NormalizerPair(mean, var)


def uses_bn(layer: SwitchableNorm, pair: NormalizerPair | None) -> bool:
    """Whether a pair, or the layer's own gates, use running statistics."""
    if pair is not None:
        return Normalizer.BN in (pair.mean, pair.var)
    if not layer.using_bn:
        return False
    column = layer.normalizers.index(Normalizer.BN)
    return any(float(gate[column].detach()) != 0 for gate in layer.gates())


def with_pair(layer: SwitchableNorm, pair: NormalizerPair | None) -> nn.Module:
    """A layer in evaluation mode with another pair, or with its own gates.

    It shares the layer's weight and bias, and has its own running statistics.
    """
    module: nn.Module
    module = copy_model(layer, share_tensors=True) if pair is None else selected_norm(layer, pair)
    for name in ("running_mean", "running_var"):
        stored = getattr(layer, name)
        if stored is not None and getattr(module, name) is not None:
            setattr(module, name, stored.clone())
    module.eval()
    return module


@torch.no_grad()
def changed_network(model: nn.Module, changes: Changes, repairs: Repairs) -> nn.Module:
    """A copy of a network with changes: SSN layers whose gates are fixed at the new pairs.

    Args:
        model: The original; not changed.
        changes: The layers that get another pair. SN layers among them become SSN layers.
        repairs: The repairs of the changed layers and of those after them.

    Returns:
        The copy in evaluation mode. Other layers stay as they are.
    """
    copied = copy_model(model)
    layers = switchable_layers(copied)
    replaced: list[tuple[nn.Module, nn.Module]] = []
    for name, pair in changes:
        layer = layers[name]
        target = layer if isinstance(layer, SSN) else as_ssn(layer)
        target.fix(pair.mean, pair.var)
        if target is not layer:
            replaced.append((layer, target))
            layers[name] = target
    for name, repair in repairs.items():
        layer = layers[name]
        if repair.moments is not None:
            set_statistics(layer, repair.moments)
        if repair.affine is not None:
            scale, shift = repair.affine.to(layer.weight.device)
            layer.weight.mul_(scale)
            layer.bias.mul_(scale).add_(shift)
    result = copy_replacing(copied, replaced)
    result.eval()
    return result


def set_statistics(layer: nn.Module, moments: Tensor) -> None:
    """Write running mean and variance, (2, C), into a layer, in place."""
    for name, value in zip(("running_mean", "running_var"), moments, strict=True):
        buffer = getattr(layer, name)
        if isinstance(buffer, Tensor):
            buffer.copy_(value)
