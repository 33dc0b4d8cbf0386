r"""A penalty on what the normalizers of a network will cost once it is converted.

With the mean gate p and the variance gate q of a layer, and C the milliseconds of its pairs,

.. math:: \text{penalty} = \frac{\text{weight}}{t} \sum_l p_l^\top C_l \, q_l

where t is the latency of the network without norms. For one-hot gates that is ``weight`` times the
share that normalization adds to the latency. It is zero where every layer has chosen BN/BN, and
linear in each of the two gates, so a gate always moves towards the cheaper choice. FBNet
(arXiv 1812.03443, section 3.2) also uses a sum over measured costs as a differentiable latency.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from ssn_prune.costs.records import FREE, Costs
from ssn_prune.errors import ArgumentError
from ssn_prune.nn.gate_batches import differentiable_gate_ratios
from ssn_prune.nn.ssn import SSN
from ssn_prune.nn.switchable import SwitchableNorm
from ssn_prune.normalizer import NormalizerPair


def latency_penalty(model: nn.Module, costs: Costs, *, weight: float) -> Tensor:
    """A term to add to the loss so that gates settle on cheap pairs unless the loss would suffer.

    :class:`LatencyPenalty` is the same for many steps: it copies the costs to the device once.

    Args:
        model: A network with SSN or SN layers.
        costs: Its costs, from :func:`ssn_prune.measure_costs`.
        weight: The loss that is added if norms double the latency of the network without norms.

    Returns:
        A scalar on the device of the gates, at least 0. Only the gates get gradients from it.
        Frozen gates count, but get none. 0 for a network without switchable layers.

    Raises:
        CostsError: The costs are those of another network.
        ArgumentError: The costs do not say how long the network takes without norms, or the weight
            is negative or not finite.
    """
    return LatencyPenalty(model, costs, weight=weight)()


class LatencyPenalty:
    """:func:`latency_penalty` for every step of a training, without waiting for the device.

    Create it when the network is on the device where it is trained. Gates that freeze later still
    count.

    Args:
        model: A network with SSN or SN layers.
        costs: Its costs.
        weight: The loss that is added if norms double the latency of the network without norms.

    Raises:
        CostsError: The costs are those of another network.
        ArgumentError: The costs do not say how long the network takes without norms, or the weight
            is negative or not finite.
    """

    def __init__(self, model: nn.Module, costs: Costs, *, weight: float) -> None:
        layers = {name: m for name, m in model.named_modules() if isinstance(m, SwitchableNorm)}
        scale = _scale(costs, weight)
        costs.require_layers({name: layer.num_features for name, layer in layers.items()})
        alike: dict[tuple[int, torch.device, torch.dtype], list[str]] = {}
        for name, layer in layers.items():
            gate = layer.mean_weight
            alike.setdefault((len(gate), gate.device, gate.dtype), []).append(name)
        self._groups: list[tuple[list[SwitchableNorm], Tensor]] = []
        for (_, device, dtype), names in alike.items():
            values = [_matrix(name, layers[name], costs) for name in names]
            matrices = scale * torch.tensor(values, dtype=dtype, device=device)
            self._groups.append(([layers[name] for name in names], matrices))

    def __call__(self) -> Tensor:
        """The penalty for the present gates."""
        parts = [
            torch.einsum("lm,lmv,lv->", gates[:, 0], matrices, gates[:, 1])
            for layers, matrices in self._groups
            for gates in (_ratios(layers),)
        ]
        return sum(parts[1:], parts[0]) if parts else torch.zeros(())


def _scale(costs: Costs, weight: float) -> float:
    if not 0 <= weight < float("inf"):
        raise ArgumentError(
            "the weight of a penalty is negative or not finite",
            expected="`weight=`, 0 or more",
            found=f"`weight={weight}`",
            hint="pass `weight=0.5` to start with",
        )
    if costs.norm_free_ms is None:
        raise ArgumentError(
            "the costs do not say how long the network takes without norms",
            expected="costs with norm_free_ms",
            found="none: it could not be exported when they were measured",
            hint="dataclasses.replace(costs, norm_free_ms=...) with the latency of the network",
        )
    return weight / costs.norm_free_ms


def _ratios(layers: list[SwitchableNorm]) -> Tensor:
    """The gates of layers, (L, 2, K); those of all SSN layers are solved together."""
    sparse = [layer for layer in layers if isinstance(layer, SSN)]
    solved = dict(zip(map(id, sparse), differentiable_gate_ratios(sparse), strict=True))
    return torch.stack(
        [solved[id(m)] if id(m) in solved else torch.stack(m.gates()) for m in layers]
    )


def _matrix(name: str, layer: SwitchableNorm, costs: Costs) -> list[list[float]]:
    """Milliseconds by the normalizers of the mean and of the variance, (K, K)."""
    known = {pair: costs.of(name, pair) for pair in (FREE, *costs.pairs(name))}
    # A pair that cannot be exported is as bad as the most expensive one.
    most = max(known.values())
    offered = layer.normalizers
    if layer.shared_gate:  # both gates are the same, and the sum must be linear in it
        return [[known.get(NormalizerPair(n, n), most)] * len(offered) for n in offered]
    return [[known.get(NormalizerPair(mean, var), most) for var in offered] for mean in offered]
