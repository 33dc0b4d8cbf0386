"""Selection: from gates to one pair of normalizers per layer, without running the network.

A layer has converged when both gates are exactly one-hot. It then is the concrete normalizer that
it selected, and replacing it changes nothing. How a gate follows from the stored tensors
(reference: arXiv 1903.03793, section 3.3):

- SSN, flag set: the gate is frozen, and the stored weight is the gate.
- SSN, flag not set: the stored weight is a logit, the gate is SparsestMax(weight; radius).
- SSN, older file without flags: a weight that is one-hot is a frozen gate, otherwise a logit.
- SN: softmax of the stored weight, never one-hot.

Which normalizers the entries belong to is known from the layer, or from the ``_extra_state`` of our
state dicts. Files without it have all three, or IN and LN.
"""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from ssn_prune.checkpoint.reference_format import is_sparse, layer_groups, offered_by, require_layer
from ssn_prune.errors import NoSwitchableLayerError, UnconvergedGatesError
from ssn_prune.nn.sparsestmax import sparsestmax
from ssn_prune.nn.ssn import SSN, is_one_hot
from ssn_prune.nn.switchable import SwitchableNorm
from ssn_prune.normalizer import Normalizer, NormalizerPair

AVERAGED = 0.05
"""How far from one-hot an average over a frozen gate may still be; see ``LayerSelection``."""


@dataclass(frozen=True)
class GateState:
    """One gate of one layer.

    Attributes:
        ratios: Weights of IN, LN and BN in float64, 0 for what is not offered; a layer that offers
            IN and LN has these two only.
        choice: The largest ratio; the lowest index on a tie.
        one_hot: Whether the ratios are exactly one-hot.
        margin: Largest minus second largest ratio: 1 for a one-hot gate, 0 on a tie.
    """

    ratios: tuple[float, ...]
    choice: Normalizer
    one_hot: bool
    margin: float

    @property
    def converged(self) -> bool:
        """The old name of ``one_hot``."""
        message = "GateState.converged is called one_hot since version 0.2"
        warnings.warn(message, DeprecationWarning, stacklevel=2)
        return self.one_hot


@dataclass(frozen=True)
class LayerSelection:
    """What one layer selected.

    Attributes:
        name: Path of the layer in the network.
        kind: ``"SSN"`` or ``"SN"``.
        num_features: Number of channels; None for a state dict that holds nothing per channel.
        radius: SparsestMax radius stored with the layer; None for SN and files without it.
        mean: The mean gate.
        var: The variance gate.
        averaged: Whether a gate is what an average (EMA) over a frozen one leaves: stored near a
            one-hot vector, but not one.
    """

    name: str
    kind: str
    num_features: int | None
    radius: float | None
    mean: GateState
    var: GateState
    averaged: bool = False

    @property
    def converged(self) -> bool:
        """Whether both gates are one-hot."""
        return self.mean.one_hot and self.var.one_hot

    @property
    def pair(self) -> NormalizerPair:
        """The selected pair: exact if both gates are one-hot, otherwise the rounded choice."""
        return NormalizerPair(self.mean.choice, self.var.choice)


@dataclass(frozen=True)
class Selection:
    """The selection of all layers, in the network's order."""

    layers: tuple[LayerSelection, ...]

    @property
    def unconverged(self) -> tuple[LayerSelection, ...]:
        """The layers with a gate that is not one-hot."""
        return tuple(layer for layer in self.layers if not layer.converged)

    def require_converged(self) -> None:
        """Raise :class:`UnconvergedGatesError` unless every gate is one-hot."""
        if self.unconverged:
            raise UnconvergedGatesError(self.unconverged, len(self.layers))


def select(source: nn.Module | Mapping[str, Tensor]) -> Selection:
    """Read the gates of a network or of a state dict; nothing is run.

    Args:
        source: A network with SSN or SwitchNorm layers, or a state dict with their keys in the
            reference layout or ours.

    Returns:
        One :class:`LayerSelection` per layer; a layer used under several names appears once.

    Raises:
        NoSwitchableLayerError: There is no such layer.
        UnsupportedLayerError: Tensors of a state dict are not those of such a layer, or leave open
            which normalizers it offers.
    """
    if isinstance(source, nn.Module):
        layers = [
            _select_layer(
                name,
                _tensors_of(module),
                module.normalizers,
                module.num_features,
                is_ssn=isinstance(module, SSN),
            )
            for name, module in source.named_modules()
            if isinstance(module, SwitchableNorm)
        ]
    else:
        layers = [_select_from_state(name, group) for name, group in layer_groups(source).items()]
    if not layers:
        raise NoSwitchableLayerError(
            "there is no switchable normalization layer here",
            expected="layers with a mean gate and a variance gate (mean_weight, var_weight)",
            found=f"a {type(source).__name__} without any",
            hint="give the checkpoint of a network trained with SSN or SN; a network without them "
            "needs no pruning and exports with torch.onnx.export",
        )
    return Selection(tuple(layers))


def _tensors_of(module: SwitchableNorm) -> dict[str, Tensor]:
    names = ["mean_weight", "var_weight"]
    if isinstance(module, SSN):
        names += ["mean_fixed", "var_fixed", "radius"]
    # By attribute, not by registration: a parametrized tensor is registered elsewhere.
    tensors = {name: getattr(module, name) for name in names}
    if isinstance(module, SSN):  # an optimizer may still push the stored weight of a frozen gate
        for gate, ratios in zip(("mean", "var"), module.gates(), strict=True):
            if tensors[f"{gate}_fixed"].any():
                tensors[f"{gate}_weight"] = ratios
    return {name: tensor.detach() for name, tensor in tensors.items()}


def _select_from_state(name: str, tensors: Mapping[str, Tensor]) -> LayerSelection:
    """Select from the tensors of one layer of a state dict.

    The kind follows from the keys: SN files have neither flags nor radius, but neither have SSN
    files from before the flags, whose frozen gates are one-hot.
    """
    require_layer(name, tensors)
    sized = (tensors[key] for key in ("weight", "running_mean", "bias") if key in tensors)
    features = next((tensor.numel() for tensor in sized), None)
    return _select_layer(
        name, tensors, offered_by(name, tensors), features, is_ssn=is_sparse(tensors)
    )


def _select_layer(
    name: str,
    tensors: Mapping[str, Tensor],
    offered: tuple[Normalizer, ...],
    features: int | None,
    *,
    is_ssn: bool,
) -> LayerSelection:
    """Apply the module's rule to the gates of one layer."""
    radius = float(tensors["radius"].flatten()[0]) if "radius" in tensors else None
    states = {}
    averaged = False
    for gate in ("mean", "var"):
        weight = tensors[f"{gate}_weight"].detach().double()
        fixed = tensors.get(f"{gate}_fixed")
        # An average of flags may be a fraction, which counts as 0 once it is loaded.
        frozen = int(fixed.flatten()[0]) != 0 if fixed is not None else is_one_hot(weight)
        if not is_ssn:
            ratios = weight.softmax(dim=0)
        else:
            ratios = weight if frozen else sparsestmax(weight, radius or 0.0)
        states[gate] = _gate_state(ratios, offered)
        averaged = averaged or (is_ssn and not states[gate].one_hot and _near_one_hot(weight))
    kind = "SSN" if is_ssn else "SN"
    return LayerSelection(name, kind, features, radius, states["mean"], states["var"], averaged)


def _near_one_hot(weight: Tensor) -> bool:
    """Whether a stored gate is all but one-hot, which logits in training are not."""
    one_hot = torch.nn.functional.one_hot(weight.argmax(), len(weight))
    return bool((weight - one_hot).abs().max() < AVERAGED)


def _gate_state(ratios: Tensor, offered: tuple[Normalizer, ...]) -> GateState:
    """Describe a gate by its ratios, shape (K,), one per offered normalizer."""
    by_name = dict(zip(offered, ratios.tolist(), strict=True))
    listed = offered if Normalizer.BN not in offered else tuple(Normalizer)
    values = tuple(by_name.get(normalizer, 0.0) for normalizer in listed)
    ordered = sorted(values, reverse=True)
    return GateState(
        ratios=values,
        choice=Normalizer(values.index(ordered[0])),
        one_hot=is_one_hot(ratios),
        margin=ordered[0] - ordered[1],
    )
