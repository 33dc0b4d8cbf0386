"""How the reference implementation stores switchable layers: all rules of its files.

A layer has ``mean_weight`` and ``var_weight`` and per-channel tensors in its own layout:

- ``weight`` and ``bias`` (1, C, 1, 1), ``running_mean`` and ``running_var`` (1, C, 1);
- ``mean_fixed``, ``var_fixed`` and ``radius`` for SSN, but not in older files;
- no ``num_batches_tracked`` and no ``_extra_state``, which ssn_prune's layers add;
- variances are Bessel-corrected.

Its SwitchNorm1d, for (N, C) inputs, has all per-channel tensors (1, C), gates over LN and BN, and
no flags.

Loading needs nothing of this: ``load_state_dict`` of our layers accepts these shapes.
"""

from __future__ import annotations

from collections.abc import Mapping

from torch import Tensor, nn

from ssn_prune.errors import UnsupportedLayerError
from ssn_prune.nn.ssn import SSN, is_one_hot
from ssn_prune.nn.switchable import SwitchableNorm
from ssn_prune.normalizer import Normalizer

_SHAPES: dict[str, tuple[int, ...]] = {
    "weight": (1, -1, 1, 1),
    "bias": (1, -1, 1, 1),
    "running_mean": (1, -1, 1),
    "running_var": (1, -1, 1),
}
_GATES = ("mean_weight", "var_weight")
VECTORS = 2
"""Axes of the weight of a layer for (N, C) inputs."""


def in_reference_layout(state: Mapping[str, Tensor]) -> bool:
    """Whether a state dict was written by the reference implementation, by its shapes."""
    prefixes = [key.removesuffix("mean_weight") for key in state if key.endswith(".mean_weight")]
    weights = [state.get(f"{prefix}weight") for prefix in prefixes]
    return any(weight is not None and weight.dim() > 1 for weight in weights)


def layer_groups(state: Mapping[str, Tensor]) -> dict[str, dict[str, Tensor]]:
    """Group the tensors of a state dict by layer, for every prefix that has both gates.

    Args:
        state: A state dict in our layout or the reference layout.

    Returns:
        By path of the layer, its tensors by name.
    """
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


def require_layer(name: str, tensors: Mapping[str, Tensor]) -> None:
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


def offered_by(name: str, tensors: Mapping[str, Tensor]) -> tuple[Normalizer, ...]:
    """The normalizers that the entries of the gates of a layer belong to.

    Args:
        name: Path of the layer, for messages.
        tensors: Its tensors by name, accepted by :func:`require_layer`.

    Raises:
        UnsupportedLayerError: They leave it open, or contradict each other.
    """
    count, extra = tensors["mean_weight"].numel(), tensors.get("_extra_state")
    if extra is not None and extra.numel() == 1 + len(Normalizer):
        flags = extra.flatten()[1:].tolist()
        offered = tuple(n for n, flag in zip(Normalizer, flags, strict=True) if flag)
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


def is_sparse(tensors: Mapping[str, Tensor]) -> bool:
    """Whether the tensors of a layer are those of SSN rather than SN.

    SN files have neither flags nor radius, but neither have SSN files from before the flags, whose
    frozen gates are one-hot.
    """
    keyed = any(key in tensors for key in ("mean_fixed", "var_fixed", "radius"))
    return keyed or any(is_one_hot(tensors[f"{gate}_weight"]) for gate in ("mean", "var"))


def authors_state_dict(model: nn.Module) -> dict[str, Tensor]:
    """The state dict of a network in the reference layout.

    Shapes are those above; ``num_batches_tracked`` and ``_extra_state`` are left out.

    Args:
        model: A network with SSN2d or SwitchNorm2d layers; not changed.

    Raises:
        UnsupportedLayerError: A layer computes what the reference implementation cannot: it is not
            two-dimensional, its variances are not Bessel-corrected, it lacks IN or LN, or it has no
            affine parameters.
    """
    state: dict[str, Tensor] = model.state_dict()
    for name, layer in model.named_modules(remove_duplicate=False):
        if not isinstance(layer, SwitchableNorm):
            continue
        _require_reference_kind(name, layer)
        prefix = f"{name}." if name else ""
        kept = {*_SHAPES, *_GATES}
        if isinstance(layer, SSN):
            kept |= {"mean_fixed", "var_fixed", "radius"}
        for key in layer.state_dict():
            if key not in kept:
                del state[prefix + key]
            elif key in _SHAPES:
                state[prefix + key] = state[prefix + key].reshape(_SHAPES[key])
    return state


def _require_reference_kind(name: str, layer: SwitchableNorm) -> None:
    unlike = []
    if layer.dims != (4,):
        unlike.append(f"it is a {type(layer).__name__}")
    if layer.correction != 1:
        biased = "not Bessel-corrected" if layer.correction == 0 else "each of their own count"
        unlike.append(f"its variances are {biased} (correction={layer.correction})")
    if not {Normalizer.IN, Normalizer.LN} <= set(layer.normalizers):
        unlike.append("it does not offer both IN and LN")
    if not layer.affine:
        unlike.append("it has no affine parameters")
    if layer.using_bn and layer.running_mean is None:
        unlike.append("it keeps no running statistics")
    if unlike:
        raise UnsupportedLayerError(
            f"{name or 'the layer'} cannot be written in the reference layout: {'; '.join(unlike)}",
            expected="SSN2d or SwitchNorm2d with correction=1 and affine parameters",
            found=str(layer),
            hint="train with correction=1 if the reference implementation is to read the result; "
            "saving with "
            "torch.save(model.state_dict()) keeps everything for ssn_prune",
        )
