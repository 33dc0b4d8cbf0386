"""How the reference implementation stores switchable layers: all rules of its files.

A layer has ``mean_weight`` and ``var_weight`` and per-channel tensors in its own layout:

- ``weight`` and ``bias`` (1, C, 1, 1), ``running_mean`` and ``running_var`` (1, C, 1);
- ``mean_fixed``, ``var_fixed`` and ``radius`` for SSN, but not in older files;
- no ``num_batches_tracked`` and no ``_extra_state``, which ssn_prune's layers add;
- variances are Bessel-corrected;
- gates that are not frozen are those of :mod:`ssn_prune.nn.reference_gate`.

Its SwitchNorm1d, for (N, C) inputs, has all per-channel tensors (1, C), gates over LN and BN, and
no flags.

Loading needs none of this: ``load_state_dict`` of our layers accepts these shapes. Nothing here
imports torch: the tensors may be those of a file of which nothing else is read.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, TypeAlias, TypeVar

from ssn_prune.checkpoint.stored import StoredTensor
from ssn_prune.errors import UnsupportedLayerError
from ssn_prune.nn.extra_state import ExtraState
from ssn_prune.nn.reference_gate import GateDefinition
from ssn_prune.nn.single_gate import is_vertex
from ssn_prune.normalizer import Normalizer

if TYPE_CHECKING:
    from torch import Tensor

AnyTensor: TypeAlias = "Tensor | StoredTensor"
_Value = TypeVar("_Value")
VECTORS = 2
"""Number of axes of the weight of a reference layer for (N, C) inputs."""


def numbers(tensor: AnyTensor) -> list[float]:
    """All elements of a small tensor."""
    if isinstance(tensor, StoredTensor):
        return tensor.numbers()
    flat: list[float] = tensor.detach().flatten().tolist()
    return flat


def in_reference_layout(state: Mapping[str, AnyTensor]) -> bool:
    """Whether a state dict was written by the reference implementation, by its shapes."""
    prefixes = [key.removesuffix("mean_weight") for key in state if key.endswith(".mean_weight")]
    weights = [state.get(f"{prefix}weight") for prefix in prefixes]
    return any(weight is not None and weight.dim() > 1 for weight in weights)


def layer_groups(state: Mapping[str, _Value]) -> dict[str, dict[str, _Value]]:
    """Group the tensors of a state dict by layer, for every prefix that has both gates.

    Args:
        state: A state dict in our layout or the reference layout.

    Returns:
        The tensors of each layer by name, by path of the layer.
    """
    names = [key.removesuffix("mean_weight") for key in state if key.endswith("mean_weight")]
    prefixes = {name for name in names if name == "" or name.endswith(".")}
    groups: dict[str, dict[str, _Value]] = {
        prefix: {} for prefix in names if prefix in prefixes and f"{prefix}var_weight" in state
    }
    for key, value in state.items():
        prefix, leaf = (key.rpartition(".")[0] + "." if "." in key else ""), key.rpartition(".")[2]
        if prefix in groups:
            groups[prefix][leaf] = value
    return {prefix.removesuffix("."): group for prefix, group in groups.items()}


def require_layer(name: str, tensors: Mapping[str, AnyTensor]) -> None:
    """Refuse tensors that are not those of a switchable layer.

    Args:
        name: Path of the layer, for messages.
        tensors: Its tensors by name, with both gates.

    Raises:
        UnsupportedLayerError: Something is missing or of another shape.
    """
    shapes = {key: tuple(value.shape) for key, value in tensors.items()}
    flags = [key for key in ("mean_fixed", "var_fixed", "radius") if key in tensors]
    sound = (
        # Only ours may lack affine parameters, and ours have an extra state.
        ("weight" in tensors or "_extra_state" in tensors)
        and ("weight" in tensors) == ("bias" in tensors)
        and shapes["mean_weight"] == shapes["var_weight"]
        and shapes["mean_weight"] in ((2,), (3,))
        and all(tensors[key].numel() == 1 for key in flags)
    )
    if not sound:
        raise _unknown_layer(
            f"{name or 'the layer'} is not a switchable normalization layer of a known kind",
            expected="weight, two gates of 2 or 3 entries, and flags and radius of one entry",
            found=", ".join(f"{key} {shape}" for key, shape in sorted(shapes.items())),
        )


def _unknown_layer(problem: str, *, expected: str, found: str) -> UnsupportedLayerError:
    hint = "check that the file is complete and was written by SSN or SN layers"
    return UnsupportedLayerError(problem, expected=expected, found=found, hint=hint)


def offered_by(name: str, tensors: Mapping[str, AnyTensor]) -> tuple[Normalizer, ...]:
    """The normalizers to which the entries of a layer's gates belong.

    Args:
        name: Path of the layer, for messages.
        tensors: Its tensors by name, accepted by :func:`require_layer`.

    Raises:
        UnsupportedLayerError: The tensors do not tell, or contradict each other.
    """
    count, extra = tensors["mean_weight"].numel(), tensors.get("_extra_state")
    offered = None if extra is None else _extra_state(name, extra).normalizers
    if offered is not None:
        if len(offered) == count:
            return offered
        raise _unknown_layer(
            f"{name or 'the layer'} contradicts itself about the normalizers that it offers",
            expected=f"gates of {len(offered)} entries, as its _extra_state says",
            found=f"gates of {count} entries",
        )
    if count == len(Normalizer):
        return tuple(Normalizer)
    if "running_mean" in tensors or "running_var" in tensors:
        if "weight" in tensors and tensors["weight"].dim() == VECTORS:
            return Normalizer.LN, Normalizer.BN
        raise UnsupportedLayerError(
            f"{name or 'the layer'} does not say which two normalizers it chooses from",
            expected="the key _extra_state of ssn_prune's layers; without it gates of three "
            "entries, or of two (IN and LN) without running statistics",
            found="gates of two entries with running statistics: IN and BN, or LN and BN",
            hint="load the weights into your network, whose layers know their normalizers, and "
            "save its state_dict()",
        )
    return Normalizer.IN, Normalizer.LN


def is_sparse(tensors: Mapping[str, AnyTensor]) -> bool:
    """Whether the tensors of a layer are those of SSN rather than SN.

    SN files have neither flags nor radius. Nor have SSN files from before the flags, but their
    frozen gates are one-hot.
    """
    keyed = any(key in tensors for key in ("mean_fixed", "var_fixed", "radius"))
    return keyed or any(is_vertex(numbers(tensors[f"{gate}_weight"])) for gate in ("mean", "var"))


def gate_definition(name: str, tensors: Mapping[str, AnyTensor]) -> GateDefinition:
    """Whose SparsestMax the gates of an SSN layer are until they freeze.

    Args:
        name: Path of the layer, for messages.
        tensors: Its tensors by name.
    """
    extra, weight = tensors.get("_extra_state"), tensors.get("weight")
    if extra is not None:
        return _extra_state(name, extra).gate_definition
    return "reference" if weight is not None and weight.dim() > 1 else "paper"


def _extra_state(name: str, extra: AnyTensor) -> ExtraState:
    try:
        return ExtraState.of(numbers(extra))
    except ValueError as error:
        raise _unknown_layer(
            f"the _extra_state of {name or 'the layer'} is not that of a switchable layer",
            expected="the kind of variance (0 to 2), then the normalizers and the definition of "
            "the gates, each 0 or 1",
            found=str(error),
        ) from error
