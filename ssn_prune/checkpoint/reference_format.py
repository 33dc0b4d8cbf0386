"""The tensors of one switchable layer in a state dict: which they are, and what they tell."""

from __future__ import annotations

from collections.abc import Mapping

from torch import Tensor

from ssn_prune.errors import UnsupportedLayerError
from ssn_prune.nn.ssn import is_one_hot
from ssn_prune.normalizer import Normalizer


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
    """What the entries of the gates of a layer stand for.

    Args:
        name: Path of the layer, for messages.
        tensors: Its tensors by name, accepted by :func:`require_layer`.

    Raises:
        UnsupportedLayerError: They do not tell, or contradict each other.
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
        raise UnsupportedLayerError(
            f"{name or 'the layer'} does not tell which two normalizers it chooses from",
            expected="the key _extra_state of ssn_prune's layers; without it gates of three "
            "entries, or of two (IN and LN) without running statistics",
            found="gates of two entries with running statistics: IN and BN, or LN and BN",
            hint="load the weights into your network, whose layers know their normalizers, and "
            "save its state_dict()",
        )
    return Normalizer.IN, Normalizer.LN


def is_sparse(tensors: Mapping[str, Tensor]) -> bool:
    """Whether the tensors of a layer are those of SSN rather than SN.

    SN files have neither flags nor radius, but neither have SSN files of before the flags, whose
    finished gates are one-hot.
    """
    keyed = any(key in tensors for key in ("mean_fixed", "var_fixed", "radius"))
    return keyed or any(is_one_hot(tensors[f"{gate}_weight"]) for gate in ("mean", "var"))
