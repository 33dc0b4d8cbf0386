"""The switchable layer that takes the place of a norm layer and uses that layer's own tensors."""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import dataclass
from typing import Any, Literal, get_args

import torch
from torch import nn

from ssn_prune.nn.ssn import SSN, SSN1d, SSN2d, SSN3d
from ssn_prune.nn.switch_norm import SwitchNorm1d, SwitchNorm2d, SwitchNorm3d
from ssn_prune.nn.switchable import SwitchableNorm
from ssn_prune.normalizer import Normalizer
from ssn_prune.surgery.foreign_norms import NormSource, activation_of
from ssn_prune.surgery.placement import placement_of, spatial_axes_around

Kind = Literal["ssn", "sn"]

_LAYERS: dict[str, tuple[type[SwitchableNorm], ...]] = {
    "ssn": (SSN1d, SSN2d, SSN3d),
    "sn": (SwitchNorm1d, SwitchNorm2d, SwitchNorm3d),
}


@dataclass(frozen=True)
class ReplacementOptions:
    """How the new layers are made; see :func:`ssn_prune.convert_to_ssn`.

    Raises:
        ValueError: An option has a value that it cannot have.
    """

    kind: Kind
    normalizers: tuple[Normalizer, ...]
    shared_gate: bool
    correction: int
    keep_choice: float | None

    def __post_init__(self) -> None:
        if self.kind not in get_args(Kind):
            raise ValueError(f"kind must be 'ssn' or 'sn', got {self.kind!r}")
        count = len(self.normalizers)
        if self.keep_choice is not None and not 1 / count < self.keep_choice < 1:
            raise ValueError(
                f"keep_choice must lie between 1/{count} (equal gates) and 1 (a one-hot gate, "
                f"which would be frozen), got {self.keep_choice!r}"
            )


def what_changes(source: NormSource, options: ReplacementOptions) -> str:
    """What the options change in a layer's computation; empty if nothing."""
    if source.choice not in options.normalizers:
        return f"{source.choice.name} is not among the normalizers to choose from"
    by_statistics = source.choice is Normalizer.BN and source.tracked
    if options.correction and not by_statistics:
        return f"correction={options.correction} makes its variance larger by n / (n - 1)"
    return ""


def switchable_layer(
    model: nn.Module, norm: nn.Module, source: NormSource, options: ReplacementOptions
) -> SwitchableNorm:
    """Make the new layer; it shares the old one's parameters and running statistics.

    Args:
        model: The network; its other layers give the axes, device or dtype that ``norm`` lacks.
        norm: The old layer.
        source: What it computes.
        options: What the caller wants.

    Raises:
        ValueError: ``keep_choice`` rounds to 1 in the layer's dtype.
    """
    axes = source.spatial_axes or spatial_axes_around(model, norm, source.channels)
    device, dtype = placement_of(model, norm)
    old: Any = norm
    layer = _LAYERS[options.kind][axes - 1](
        source.channels,
        eps=old.eps,
        momentum=getattr(old, "momentum", 0.1),
        affine=source.weight is not None,
        track_running_stats=source.tracked,
        normalizers=options.normalizers,
        shared_gate=options.shared_gate,
        correction=options.correction,
        device=device,
        dtype=dtype,
    )
    kept = {"weight": source.weight, "bias": source.bias}
    for name in ("running_mean", "running_var", "num_batches_tracked"):
        value = getattr(old, name, None)
        if value is not None and getattr(layer, name) is not None:
            kept[name] = value
    for name, value in kept.items():
        setattr(layer, name, value)
    if options.keep_choice is not None and source.choice in options.normalizers:
        _lean(layer, source.choice, options.keep_choice)
    layer.training = norm.training
    return layer


def _lean(layer: SwitchableNorm, choice: Normalizer, ratio: float) -> None:
    """Start both gates with ``ratio`` on a choice and the rest shared, in place."""
    count = len(layer.normalizers)
    ratios = torch.full((count,), (1 - ratio) / (count - 1), dtype=torch.float64)
    ratios[layer.normalizers.index(choice)] = ratio
    stored = ratios.to(layer.mean_weight.dtype)
    if stored.max() - stored.min() >= 1:
        raise ValueError(f"keep_choice={ratio!r} is 1 in {stored.dtype}: the gates would freeze")
    # sparsemax leaves the points of the simplex where they are; softmax undoes the logarithm.
    logits = stored if isinstance(layer, SSN) else ratios.log()
    with torch.no_grad():
        layer.mean_weight.copy_(logits)
        layer.var_weight.copy_(logits)


def with_activation(norm: nn.Module, layer: SwitchableNorm) -> nn.Module:
    """The layer, or a Sequential of ``norm``, ``drop`` and ``act`` if the old one had those."""
    tail = activation_of(norm)
    if not tail:
        return layer
    whole = nn.Sequential(OrderedDict([("norm", layer), *tail.items()]))
    whole.training = norm.training  # not train(), which would reach into the tail
    return whole
