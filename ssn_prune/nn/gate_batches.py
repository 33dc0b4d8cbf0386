"""The gates of many SSN layers, solved together and without waiting for the device."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import torch
from torch import Tensor

from ssn_prune.nn.gate_tensors import held_ratios, solve_gates
from ssn_prune.nn.reference_gate import GateDefinition


class GateLayer(Protocol):
    """The part of :class:`ssn_prune.nn.ssn.SSN` that is used here."""

    gate_definition: GateDefinition

    @property
    def mean_weight(self) -> Tensor:
        """Logits of the mean gate, (K,)."""

    @property
    def var_weight(self) -> Tensor:
        """Logits of the variance gate, (K,)."""

    @property
    def mean_fixed(self) -> Tensor:
        """Whether the mean gate is frozen, (1,)."""

    @property
    def var_fixed(self) -> Tensor:
        """Whether the variance gate is frozen, (1,)."""

    @property
    def radius(self) -> Tensor:
        """The radius of both gates, (1,)."""

    @property
    def frozen_ratios(self) -> Tensor:
        """The ratios of frozen gates, (2, K)."""


@dataclass(frozen=True)
class _GateBatch:
    """The gates of layers of one kind, two rows per layer, so that they are solved at once.

    Attributes:
        layers: The L layers.
        logits: (2 L, K).
        frozen: Whether a gate is frozen, (2 L, 1).
        frozen_ratios: The ratios of frozen gates, (2 L, K).
    """

    layers: list[GateLayer]
    logits: Tensor
    frozen: Tensor
    frozen_ratios: Tensor

    @classmethod
    def of(cls, layers: list[GateLayer]) -> _GateBatch:
        logits = torch.stack([w for layer in layers for w in (layer.mean_weight, layer.var_weight)])
        flags = torch.stack([f for layer in layers for f in (layer.mean_fixed, layer.var_fixed)])
        ratios = torch.cat([layer.frozen_ratios for layer in layers])
        return cls(layers, logits, flags != 0, ratios)

    def solve(self) -> Tensor:
        """The gate of every row as if it were not frozen."""
        radius = torch.cat([layer.radius for layer in self.layers]).repeat_interleave(2)
        return solve_gates(self.logits, radius, self.layers[0].gate_definition)


def _batches(layers: Iterable[GateLayer]) -> list[_GateBatch]:
    alike: dict[tuple[Any, ...], list[GateLayer]] = {}
    for layer in layers:
        weight = layer.mean_weight
        if not weight.is_meta:
            key = (len(weight), weight.device, weight.dtype, layer.gate_definition)
            alike.setdefault(key, []).append(layer)
    return [_GateBatch.of(group) for group in alike.values()]


@torch.no_grad()
def gate_ratios(layers: Sequence[GateLayer]) -> list[Tensor]:
    """The present ratios of many layers, (2, K) each, solved together and without waiting."""
    return differentiable_gate_ratios(layers)


def differentiable_gate_ratios(layers: Sequence[GateLayer]) -> list[Tensor]:
    """As :func:`gate_ratios`, with gradients; those of frozen gates are zero."""
    found: dict[int, Tensor] = {}
    for batch in _batches(layers):
        held = held_ratios(batch.logits, batch.frozen_ratios)
        ratios = torch.where(batch.frozen, held, batch.solve())
        pairs = ratios.view(len(batch.layers), 2, -1).unbind()
        found.update({id(layer): pair for layer, pair in zip(batch.layers, pairs, strict=True)})
    return [found[id(layer)] for layer in layers]


@torch.no_grad()
def freeze_gates(layers: Iterable[GateLayer], *, restore_only: bool = False) -> None:
    """Freeze the gates that are one-hot, and restore the weights of frozen ones."""
    for batch in _batches(layers):
        frozen, frozen_ratios = batch.frozen, batch.frozen_ratios
        if not restore_only:
            ratios = batch.solve()
            zeros_and_ones = (ratios == 1).sum(1, keepdim=True) + (ratios == 0).sum(1, keepdim=True)
            one_hot = zeros_and_ones == ratios.shape[1]
            frozen_ratios = torch.where(one_hot & ~frozen, ratios, frozen_ratios)
            frozen = frozen | one_hot
            flags = [f for layer in batch.layers for f in (layer.mean_fixed, layer.var_fixed)]
            torch._foreach_copy_(flags, list(frozen.to(flags[0].dtype).unbind()))
            held = [layer.frozen_ratios for layer in batch.layers]
            torch._foreach_copy_(held, list(frozen_ratios.view(len(held), 2, -1).unbind()))
        stored = torch.where(frozen, held_ratios(batch.logits, frozen_ratios), batch.logits)
        weights: list[Tensor] = []
        for layer in batch.layers:
            # Backward passes under way do not use these values, so their version stays the same.
            weights += [layer.mean_weight.data, layer.var_weight.data]
        torch._foreach_copy_(weights, list(stored.unbind()))
