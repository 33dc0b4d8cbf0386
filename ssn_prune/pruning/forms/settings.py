"""The settings of a concrete normalizer, without its tensors' values: plain data to rebuild it."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from ssn_prune.pruning.plan import LayerPlan, Ratios


@dataclass(frozen=True)
class FormSettings:
    """The settings of one concrete normalizer; those that its form lacks have default values.

    Attributes:
        num_features: C.
        dimension: 1, 2 or 3, as in the layer's name.
        eps: Added to the variance.
        momentum: torch's convention; None for the cumulative average over all batches.
        correction: The kind of variance; see :mod:`ssn_prune.nn.variance_kind`.
        positions: The only number of positions for which the constants are exact; None if they are
            for any.
        mean_ratios: Weights of the IN, LN and BN means.
        var_ratios: Weights of the IN, LN and BN variances.
        tensors: Names of its parameters and buffers.
    """

    num_features: int
    dimension: int
    eps: float
    momentum: float | None
    correction: int
    positions: int | None
    mean_ratios: Ratios
    var_ratios: Ratios
    tensors: tuple[str, ...]

    @property
    def affine(self) -> bool:
        """Whether it has a weight and a bias."""
        return "weight" in self.tensors

    def empty(self, name: str) -> Tensor | None:
        """An uninitialized tensor (C,) for one of its tensors; None if it has none of that name."""
        return torch.empty(self.num_features) if name in self.tensors else None


def settings_of(layer: LayerPlan, module: nn.Module) -> FormSettings:
    """The settings of a module that a form has built.

    Args:
        layer: Its plan.
        module: The module.
    """
    held = {**module._parameters, **module._buffers}
    return FormSettings(
        num_features=layer.num_features,
        dimension=layer.dimension,
        eps=getattr(module, "eps", 0.0),
        momentum=getattr(module, "momentum", None),
        correction=getattr(module, "correction", 0),
        positions=getattr(module, "positions", None),
        mean_ratios=layer.mean_ratios,
        var_ratios=layer.var_ratios,
        tensors=tuple(name for name, tensor in held.items() if tensor is not None),
    )
