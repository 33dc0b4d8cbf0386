"""Selection: from gates to one pair of normalizers per layer, without running the network.

A layer has converged when both gates are exactly one-hot. It then computes the same as the
normalizer that it selected, and replacing it changes nothing. A gate follows from the stored
tensors (arXiv 1903.03793, section 3.3):

- SSN, flag set: the gate is frozen, and the stored weight is the gate.
- SSN, flag not set: the stored weight holds logits. The gate is SparsestMax(weight; radius), or
  what the reference code computes instead (:mod:`ssn_prune.nn.reference_gate`).
- SSN, older file without flags: a one-hot weight is a frozen gate, any other holds logits.
- SN: the gate is the softmax of the stored weight, which is never one-hot.

The layer, or the ``_extra_state`` of our state dicts, says which normalizers the entries belong to.
Files without it have all three, or IN and LN.

torch is only imported for a network: ``inspect`` selects from the few gates of a file without it.
"""

from __future__ import annotations

import warnings
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from ssn_prune.checkpoint.reference_format import (
    AnyTensor,
    gate_definition,
    is_sparse,
    layer_groups,
    numbers,
    offered_by,
    require_layer,
)
from ssn_prune.errors import (
    NoSwitchableLayerError,
    UnconvergedGatesError,
    UnsupportedLayerError,
)
from ssn_prune.nn.reference_gate import GateDefinition, on_simplex, solved
from ssn_prune.nn.single_gate import is_vertex, softmax_gate
from ssn_prune.normalizer import Normalizer, NormalizerPair
from ssn_prune.text import listed

if TYPE_CHECKING:
    from torch import Tensor, nn

    from ssn_prune.checkpoint.stored import StoredTensor
    from ssn_prune.nn.switchable import SwitchableNorm

AVERAGED = 0.05
"""How far from one-hot an average over a frozen gate may still be; see ``LayerSelection``."""


@dataclass(frozen=True)
class GateState:
    """One gate of one layer.

    Attributes:
        ratios: Weights of IN, LN and BN, 0 for what is not offered; a layer that offers IN and LN
            has these two only.
        choice: The normalizer with the largest ratio; the first in the order IN, LN, BN on a tie.
        one_hot: Whether the ratios are exactly one-hot.
        margin: Largest minus second largest ratio: 1 for a one-hot gate, 0 on a tie.
        on_simplex: Whether the ratios are at least 0 and sum to 1. On ties the reference code may
            give other values, or NaN; the choice is then that of the paper's gate.
        frozen: Whether its flag says that the stored weight is the gate.
    """

    ratios: tuple[float, ...]
    choice: Normalizer
    one_hot: bool
    margin: float
    on_simplex: bool = True
    frozen: bool = False

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
        num_features: Number of channels; None for a state dict without any tensor per channel.
        radius: SparsestMax radius stored with the layer; None for SN and for files without one.
        mean: The mean gate.
        var: The variance gate.
        gate_definition: Whose SparsestMax the gates are: ``"paper"`` or ``"reference"``; None for
            SN and where both gates are frozen.
        averaged: Whether a gate looks like an average (EMA) of a frozen one: its stored values are
            close to a one-hot vector, but not exactly one.
    """

    name: str
    kind: str
    num_features: int | None
    radius: float | None
    mean: GateState
    var: GateState
    gate_definition: GateDefinition | None = None
    averaged: bool = False

    @property
    def converged(self) -> bool:
        """Whether both gates are one-hot."""
        return self.mean.one_hot and self.var.one_hot

    @property
    def pair(self) -> NormalizerPair:
        """The selected pair, exact if both gates are one-hot, otherwise the rounded choice."""
        return NormalizerPair(self.mean.choice, self.var.choice)


@dataclass(frozen=True)
class Selection:
    """The selection of all layers, in the network's order."""

    layers: tuple[LayerSelection, ...]

    def __repr__(self) -> str:
        """How often each pair was selected, and how many layers are not one-hot."""
        pairs = Counter(
            f"{layer.mean.choice.name}/{layer.var.choice.name}" for layer in self.layers
        )
        found = ", ".join(f"{count} {pair}" for pair, count in pairs.most_common())
        left = f"; {len(self.unconverged)} not one-hot" if self.unconverged else ""
        return f"<Selection of {len(self.layers)} layers: {found}{left}>"

    @property
    def unconverged(self) -> tuple[LayerSelection, ...]:
        """The layers with a gate that is not one-hot."""
        return tuple(layer for layer in self.layers if not layer.converged)

    def require_converged(self) -> None:
        """Raise :class:`UnconvergedGatesError` unless every gate is one-hot.

        Frozen gates that are not one-hot raise :class:`UnsupportedLayerError`, since no training
        would change them, unless they look like averages.
        """
        broken = self._named(lambda state: state.frozen and not state.one_hot)
        if broken and not any(layer.averaged for layer in self.unconverged):
            raise _broken_gates(broken)
        if self.unconverged:
            raise UnconvergedGatesError(self.unconverged, len(self.layers))

    @property
    def off_simplex(self) -> tuple[str, ...]:
        """The gates that left the simplex, such as ``"layer1.0.sn1.mean_weight"``."""
        return tuple(self._named(lambda state: not state.on_simplex))

    def _named(self, chosen: Callable[[GateState], bool]) -> dict[str, GateState]:
        """The chosen gates by the names of their weights."""
        return {
            f"{layer.name}.{gate}_weight".removeprefix("."): state
            for layer in self.layers
            for gate, state in (("mean", layer.mean), ("var", layer.var))
            if chosen(state)
        }

    def require_on_simplex(self, *, own_layers: bool) -> None:
        """Raise :class:`UnsupportedLayerError` if the reference code puts a gate off the simplex.

        The same holds for a frozen gate whose stored ratios are off it.

        Args:
            own_layers: Whether all layers are ssn_prune's, so that rounding the gates is possible.
        """
        broken = self._named(lambda state: state.frozen and not state.on_simplex)
        if broken:
            raise _broken_gates(broken)
        if self.off_simplex:
            raise UnsupportedLayerError(
                f"the reference code's SparsestMax leaves the simplex at "
                f"{listed(self.off_simplex, 4)}",
                expected="gates whose ratios are at least 0 and sum to 1",
                found="logits that are tied, or one that is far ahead of the others, at a radius "
                "where that code gives something else",
                hint=("" if own_layers else "build the network with SSN layers of ssn_prune and ")
                + "pass `on_unconverged='argmax'` (rounds every gate to its largest logit and "
                "reports the error this causes), or train until every gate is one-hot",
            )


def _broken_gates(gates: Mapping[str, GateState]) -> UnsupportedLayerError:
    """The error for frozen gates whose stored weights are no gates."""
    (name, state), *_ = gates.items()
    ratios = ", ".join(f"{value:.4g}" for value in state.ratios)
    flag = name.replace("_weight", "_fixed")
    return UnsupportedLayerError(
        f"{listed(list(gates), 4)}: marked as frozen, but not one-hot",
        expected="one entry of 1 and zeros, which is what training freezes",
        found=f"{name} ({ratios}), while {flag} is set",
        hint="the file was changed after training: take the original. If the weights are logits "
        f"that were not frozen, set {flag} to 0 in the file",
    )


def select(source: nn.Module | Mapping[str, Tensor] | Mapping[str, StoredTensor]) -> Selection:
    """Read the gates of a network or of a state dict; nothing is run.

    Args:
        source: A network with SSN or SwitchNorm layers, or a state dict with their keys in the
            reference layout or ours.

    Returns:
        One :class:`LayerSelection` per layer; a layer used under several names appears once.

    Raises:
        NoSwitchableLayerError: The source has no SSN or SwitchNorm layer.
        UnsupportedLayerError: Tensors of a state dict are not those of such a layer, or do not tell
            which normalizers it offers.
    """
    if isinstance(source, Mapping):
        state: Mapping[str, AnyTensor] = source
        layers = [_select_from_state(name, group) for name, group in layer_groups(state).items()]
    else:
        layers = _select_from_modules(source)
    if not layers:
        raise NoSwitchableLayerError(
            "there is no switchable normalization layer here",
            expected="layers with a mean gate and a variance gate (mean_weight, var_weight)",
            found=f"a {type(source).__name__} without any",
            hint="give the checkpoint of a network trained with SSN or SN; a network without them "
            "needs no pruning and exports with torch.onnx.export",
        )
    return Selection(tuple(layers))


def _select_from_modules(model: nn.Module) -> list[LayerSelection]:
    # Imported here, because selecting from a file must not import torch.
    from ssn_prune.nn.ssn import SSN
    from ssn_prune.nn.switchable import SwitchableNorm

    layers = []
    for name, module in model.named_modules():
        if isinstance(module, SwitchableNorm):
            definition = module.gate_definition if isinstance(module, SSN) else None
            features, offered = module.num_features, module.normalizers
            layers.append(
                _select_layer(name, _numbers_of(name, module), offered, features, definition)
            )
    return layers


def _require_values(name: str, tensor: Tensor | None) -> None:
    """Refuse a tensor of a gate that is not there or has no values."""
    if tensor is None or tensor.is_meta:
        raise UnsupportedLayerError(
            f"{name} has no values, so nothing can be selected",
            expected="gates on the CPU or on a GPU, with the values of a checkpoint",
            found="None" if tensor is None else "a tensor on the meta device",
            hint="build the network on the CPU, and load its checkpoint with load_state_dict",
        )


def _numbers_of(path: str, module: SwitchableNorm) -> dict[str, list[float]]:
    """The gates of a layer, read as attributes: a parametrized tensor has other keys."""
    names = ("mean_weight", "var_weight", "mean_fixed", "var_fixed", "radius")
    tensors = {name: getattr(module, name) for name in names if hasattr(module, name)}
    for key, tensor in tensors.items():
        _require_values(f"{path}.{key}".removeprefix("."), tensor)
    # An optimizer may still change the stored weight of a frozen gate.
    for gate, ratios in zip(("mean", "var"), module.gates(), strict=True):
        if f"{gate}_fixed" in tensors and tensors[f"{gate}_fixed"].any():
            tensors[f"{gate}_weight"] = ratios
    return {name: numbers(tensor) for name, tensor in tensors.items()}


def _select_from_state(name: str, tensors: Mapping[str, AnyTensor]) -> LayerSelection:
    """Select from the tensors of one layer of a state dict."""
    require_layer(name, tensors)
    sized = (tensors[key] for key in ("weight", "running_mean", "bias") if key in tensors)
    features = next((tensor.numel() for tensor in sized), None)
    definition = gate_definition(name, tensors) if is_sparse(tensors) else None
    keys = ("mean_weight", "var_weight", "mean_fixed", "var_fixed", "radius")
    values = {key: numbers(tensors[key]) for key in keys if key in tensors}
    return _select_layer(name, values, offered_by(name, tensors), features, definition)


def _select_layer(
    name: str,
    values: Mapping[str, list[float]],
    offered: tuple[Normalizer, ...],
    features: int | None,
    definition: GateDefinition | None,
) -> LayerSelection:
    """Apply the rules above to the gates of one layer; without a definition they are softmax."""
    radius = values["radius"][0] if "radius" in values else None
    if radius is not None and radius < 0:
        raise UnsupportedLayerError(
            f"{name or 'the layer'} has a negative radius",
            expected="a radius between 0 and sqrt((K-1)/K) for K normalizers",
            found=f"{radius:g}",
            hint="the file was changed after training: take the original",
        )
    states, soft, averaged = {}, False, False
    for gate in ("mean", "var"):
        logits, fixed = values[f"{gate}_weight"], values.get(f"{gate}_fixed")
        # An average of flags may be a fraction, which counts as 0 once it is loaded.
        frozen = int(fixed[0]) != 0 if fixed is not None else is_vertex(logits)
        if definition is None:
            states[gate] = _gate_state(softmax_gate(logits).ratios, logits, offered)
        elif frozen:
            states[gate] = replace(_gate_state(logits, logits, offered), frozen=True)
        else:
            ratios = solved(logits, radius or 0.0, definition).ratios
            states[gate], soft = _gate_state(ratios, logits, offered), True
        if definition is not None and not states[gate].one_hot:
            averaged = averaged or _near_one_hot(logits)
    kind = "SN" if definition is None else "SSN"
    used = definition if soft else None
    mean, var = states["mean"], states["var"]
    return LayerSelection(name, kind, features, radius, mean, var, used, averaged)


def _near_one_hot(logits: list[float]) -> bool:
    """Whether a stored gate is all but one-hot, which logits in training are not."""
    *others, largest = sorted(logits)
    return all(abs(value) < AVERAGED for value in (*others, largest - 1))


def _gate_state(
    ratios: list[float], logits: list[float], offered: tuple[Normalizer, ...]
) -> GateState:
    """Describe a gate by its ratios and logits, one per offered normalizer."""
    sound = on_simplex(ratios)
    ranked = ratios if sound else logits
    by_name = dict(zip(offered, ratios, strict=True))
    columns = offered if Normalizer.BN not in offered else tuple(Normalizer)
    values = tuple(by_name.get(normalizer, 0.0) for normalizer in columns)
    ordered = sorted(values, reverse=True)
    return GateState(
        ratios=values,
        choice=offered[ranked.index(max(ranked))],
        one_hot=is_vertex(ratios),
        margin=ordered[0] - ordered[1],
        on_simplex=sound,
    )
