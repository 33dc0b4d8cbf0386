"""Selection: from gates to one pair of normalizers per layer, without running the network.

A gate is *converged* when its ratios are exactly one-hot; then the layer is the concrete normalizer
that it selected, and replacing it changes nothing. The rule, which is that of the authors' files
(reference: arXiv 1903.03793, section 3.3):

- SSN, flag set: the stored weight is the final gate.
- SSN, flag not set: the stored weight is a logit, the gate is SparsestMax(weight; radius).
- SSN, older file without flags: a weight that is one-hot is final, otherwise it is a logit.
- SN: softmax of the stored weight, never one-hot.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from torch import Tensor, nn

from ssn_prune.errors import (
    NoSwitchableLayerError,
    UnconvergedGatesError,
    UnsupportedLayerError,
)
from ssn_prune.layers.ssn import SSN, is_one_hot
from ssn_prune.layers.switchable import SwitchableNorm
from ssn_prune.math.sparsestmax import sparsestmax
from ssn_prune.normalizer import Normalizer, NormalizerPair


@dataclass(frozen=True)
class GateState:
    """One gate of one layer.

    Attributes:
        ratios: Weights of IN, LN and (where offered) BN, in float64.
        choice: The largest ratio; the lowest index on a tie.
        converged: Whether the ratios are exactly one-hot.
        margin: Largest minus second largest ratio: 1 when converged, 0 on a tie.
    """

    ratios: tuple[float, ...]
    choice: Normalizer
    converged: bool
    margin: float


@dataclass(frozen=True)
class LayerSelection:
    """What one layer selected.

    Attributes:
        name: Path of the layer in the network.
        kind: ``"SSN"`` or ``"SN"``.
        num_features: Number of channels.
        radius: SparsestMax radius stored with the layer; None for SN and files without it.
        mean: The mean gate.
        var: The variance gate.
    """

    name: str
    kind: str
    num_features: int
    radius: float | None
    mean: GateState
    var: GateState

    @property
    def converged(self) -> bool:
        """Whether both gates are one-hot."""
        return self.mean.converged and self.var.converged

    @property
    def pair(self) -> NormalizerPair:
        """The selected pair: exact if converged, otherwise the rounded choice."""
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
        source: A network with :class:`SSN2d` or :class:`SwitchNorm2d` layers, or a state dict with
            their keys in the authors' layout or ours.

    Returns:
        One :class:`LayerSelection` per layer; a layer used under several names appears once.

    Raises:
        NoSwitchableLayerError: There is no such layer.
    """
    if isinstance(source, nn.Module):
        layers = [
            _select_layer(name, _tensors_of(module), is_ssn=isinstance(module, SSN))
            for name, module in source.named_modules()
            if isinstance(module, SwitchableNorm)
        ]
    else:
        layers = [_select_layer(name, group) for name, group in _layer_groups(source).items()]
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
    names = ["weight", "mean_weight", "var_weight"]
    if isinstance(module, SSN):
        names += ["mean_fixed", "var_fixed", "radius"]
    # By attribute, not by registration: a parametrized tensor is registered elsewhere.
    tensors = {name: getattr(module, name) for name in names}
    if isinstance(module, SSN):  # an optimizer may still push the stored weight of a frozen gate
        for gate, ratios in zip(("mean", "var"), module.gates(), strict=True):
            if tensors[f"{gate}_fixed"].any():
                tensors[f"{gate}_weight"] = ratios
    return {name: tensor.detach() for name, tensor in tensors.items()}


def _layer_groups(state: Mapping[str, Tensor]) -> dict[str, dict[str, Tensor]]:
    """Group the keys of a state dict by layer, for every prefix that has both gates."""
    names = [key.removesuffix("mean_weight") for key in state if key.endswith("mean_weight")]
    prefixes = {name for name in names if name == "" or name.endswith(".")}
    groups: dict[str, dict[str, Tensor]] = {
        prefix: {} for prefix in names if prefix in prefixes and f"{prefix}var_weight" in state
    }
    for key, value in state.items():
        prefix, leaf = (key.rpartition(".")[0] + "." if "." in key else ""), key.rpartition(".")[2]
        if prefix in groups:
            groups[prefix][leaf] = value
    return {prefix.removesuffix("."): group for prefix, group in groups.items()}


def _select_layer(
    name: str, tensors: Mapping[str, Tensor], is_ssn: bool | None = None
) -> LayerSelection:
    """Apply the module's rule to the tensors of one layer.

    Without ``is_ssn`` the kind follows from the keys: SN files have neither flags nor radius, but
    neither have SSN files of before the flags, whose finished gates are one-hot.
    """
    _require_layer(name, tensors)
    gates = {gate: tensors[f"{gate}_weight"].detach().double() for gate in ("mean", "var")}
    if is_ssn is None:
        keyed = any(key in tensors for key in ("mean_fixed", "var_fixed", "radius"))
        is_ssn = keyed or any(is_one_hot(gate) for gate in gates.values())
    radius = float(tensors["radius"].flatten()[0]) if "radius" in tensors else None
    states = {}
    for gate, weight in gates.items():
        fixed = tensors.get(f"{gate}_fixed")
        final = bool(fixed.flatten()[0]) if fixed is not None else is_one_hot(weight)
        if not is_ssn:
            ratios = weight.softmax(dim=0)
        else:
            ratios = weight if final else sparsestmax(weight, radius or 0.0)
        states[gate] = gate_state(ratios)
    features = tensors["weight"].numel()
    return LayerSelection(
        name, "SSN" if is_ssn else "SN", features, radius, states["mean"], states["var"]
    )


def _require_layer(name: str, tensors: Mapping[str, Tensor]) -> None:
    shapes = {key: tuple(value.shape) for key, value in tensors.items()}
    flags = [key for key in ("mean_fixed", "var_fixed", "radius") if key in tensors]
    sound = (
        "weight" in tensors
        and shapes["mean_weight"] == shapes["var_weight"]
        and shapes["mean_weight"] in ((2,), (3,))
        and all(tensors[key].numel() == 1 for key in flags)
    )
    if not sound:
        listed = ", ".join(f"{key} {shape}" for key, shape in sorted(shapes.items()))
        raise UnsupportedLayerError(
            f"{name or 'the layer'} is not a switchable normalization layer of a known kind",
            expected="weight, two gates of 2 or 3 entries, and flags and radius of one entry",
            found=listed,
            hint="check that the file is complete and was written by SSN or SN layers",
        )


def gate_state(ratios: Tensor) -> GateState:
    """Describe a gate by its ratios, shape (K,)."""
    values = tuple(float(r) for r in ratios)
    ordered = sorted(values, reverse=True)
    choice = values.index(ordered[0])
    return GateState(
        ratios=values,
        choice=Normalizer(choice),
        converged=is_one_hot(ratios),
        margin=ordered[0] - ordered[1],
    )
