"""Match the keys of a checkpoint with those of a network: prefixes, shapes, near matches."""

from __future__ import annotations

import difflib
from collections.abc import Mapping
from dataclasses import dataclass, replace

from torch import Tensor, nn

from ssn_prune.checkpoint.layer_kind import require_same_kind
from ssn_prune.checkpoint.wrappers import without_wrappers
from ssn_prune.errors import ArgumentError, KeyMismatchError
from ssn_prune.nn.switchable import SwitchableNorm
from ssn_prune.surgery.from_reference import is_foreign

PREFIXES = ("module.", "_orig_mod.", "model.", "net.", "backbone.")
# Counters of wrappers, not part of the network.
_WRAPPER_KEYS = ("n_averaged",)
_PER_CHANNEL = ("weight", "bias", "running_mean", "running_var")
_OPTIONAL = ("mean_fixed", "var_fixed", "radius", "_extra_state")
_SHOWN = 12


@dataclass(frozen=True)
class Stripped:
    """Weights without their wrapper's prefix.

    Attributes:
        tensors: Renamed keys.
        prefix: What was taken off.
        ignored: Keys outside an explicitly given prefix.
    """

    tensors: dict[str, Tensor]
    prefix: str
    ignored: tuple[str, ...]


def strip_prefix(
    tensors: Mapping[str, Tensor], expected: Mapping[str, object] | None, prefix: str | None
) -> Stripped:
    """Take off the prefix that wrappers such as DataParallel put before every key.

    What wrappers of submodules put into the middle of keys is taken off, too.

    Args:
        tensors: Weights with the file's keys.
        expected: Keys of the network, if known: stripping stops where they match best.
        prefix: An explicit prefix; keys without it are left out. None finds it automatically among
            :data:`PREFIXES`, repeatedly, as long as all keys carry it.

    Raises:
        ArgumentError: No key has the explicit prefix.
    """
    if prefix is not None:
        prefix = prefix if prefix == "" or prefix.endswith(".") else prefix + "."
        kept = {k.removeprefix(prefix): v for k, v in tensors.items() if k.startswith(prefix)}
        if not kept:
            raise ArgumentError(
                f"no key starts with the prefix {prefix!r}",
                expected=f"a prefix of keys such as {', '.join(list(tensors)[:3])}",
                found=repr(prefix),
                hint="leave `prefix=` out to have it found",
            )
        ignored = tuple(k for k in tensors if not k.startswith(prefix))
        return Stripped(without_wrappers(kept, expected), prefix, ignored)
    current = {k: v for k, v in tensors.items() if k not in _WRAPPER_KEYS}
    taken = ""
    best = Stripped(current, taken, ())
    while step := next((p for p in PREFIXES if all(k.startswith(p) for k in current)), None):
        current = {k.removeprefix(step): v for k, v in current.items()}
        taken += step
        if expected is None or _hits(current, expected) >= _hits(best.tensors, expected):
            best = Stripped(current, taken, ())
    return replace(best, tensors=without_wrappers(best.tensors, expected))


def _hits(tensors: Mapping[str, Tensor], expected: Mapping[str, object]) -> int:
    return sum(key in expected for key in tensors)


def misshaped_keys(
    model: nn.Module, tensors: Mapping[str, Tensor]
) -> dict[str, tuple[tuple[int, ...], tuple[int, ...]]]:
    """Shared keys whose shapes differ: (checkpoint's shape, network's shape).

    Per-channel tensors of switchable layers match in any layout with the same number of entries,
    and their extra state in the shorter form of older files.
    """
    layers = _switchable_prefixes(model)
    result = {}
    for key, own in _tensor_state(model).items():
        if key in tensors and tensors[key].shape != own.shape:
            prefix, _, leaf = key.rpartition(".")
            reshaped = leaf in _PER_CHANNEL and tensors[key].numel() == own.numel()
            if prefix not in layers or not (reshaped or leaf == "_extra_state"):
                result[key] = (tuple(tensors[key].shape), tuple(own.shape))
    return result


def load_weights(model: nn.Module, tensors: Mapping[str, Tensor], where: str) -> None:
    """Load weights strictly, in place.

    Args:
        model: The network.
        tensors: Weights with the network's keys.
        where: Name of the architecture, for messages.

    Raises:
        KeyMismatchError: Keys or shapes differ.
        CheckpointError: A layer was trained with other normalizers, or with two gates where the
            network has one.
    """
    layers = _switchable_prefixes(model)
    own = _tensor_state(model)

    def optional(key: str) -> bool:
        prefix, _, leaf = key.rpartition(".")
        return (prefix in layers and leaf in _OPTIONAL) or leaf == "num_batches_tracked"

    missing = [key for key in own if key not in tensors and not optional(key)]
    unexpected = [key for key in tensors if key not in own and not optional(key)]
    shapes = misshaped_keys(model, tensors)
    misshaped = [
        f"{key}: {a} in the checkpoint, {b} in the network" for key, (a, b) in shapes.items()
    ]
    if missing or unexpected or misshaped:
        raise _mismatch(where, missing, unexpected, misshaped, len(own))
    for name, layer in layers.items():
        if isinstance(layer, SwitchableNorm):
            require_same_kind(name, layer, tensors)
    loaded = {k: v for k, v in tensors.items() if k in own}
    for key in loaded.keys() & _reshaped_keys(layers):
        loaded[key] = loaded[key].reshape(own[key].shape)
    model.load_state_dict(loaded, strict=False)


def take_kind(model: nn.Module, tensors: Mapping[str, Tensor]) -> None:
    """Take over, in place, the kind of variance that ssn_prune's files say, after adoption.

    Args:
        model: The network with layers of ssn_prune.
        tensors: Weights with the network's keys, which it holds already.

    Raises:
        CheckpointError: A layer was trained with other normalizers, or with two gates where the
            network has one.
    """
    for name, layer in _switchable_prefixes(model).items():
        if isinstance(layer, SwitchableNorm):
            require_same_kind(name, layer, tensors)
            extra = tensors.get(f"{name}._extra_state" if name else "_extra_state")
            if extra is not None:
                layer.set_extra_state(extra)


def _reshaped_keys(layers: Mapping[str, nn.Module]) -> set[str]:
    """Keys of another implementation's layers, which do not know ssn_prune's layout (C,)."""
    return {
        f"{prefix}.{leaf}" if prefix else leaf
        for prefix, layer in layers.items()
        if not isinstance(layer, SwitchableNorm)
        for leaf in _PER_CHANNEL
    }


def _mismatch(
    where: str, missing: list[str], unexpected: list[str], misshaped: list[str], total: int
) -> KeyMismatchError:
    near = []
    for key in missing[:_SHOWN]:
        match = difflib.get_close_matches(key, unexpected, n=1, cutoff=0.8)
        near += [f"{match[0]} -> {key}"] if match else []
    parts = [
        f"{len(keys)} {label} ({_listed(keys)})"
        for label, keys in (
            ("missing", missing),
            ("unexpected", unexpected),
            ("of another shape", misshaped),
        )
        if keys
    ]
    hint = f"near matches: {'; '.join(near[:4])}. " if near else ""
    gates = [key for key in missing if key.endswith(("mean_weight", "var_weight"))]
    if gates and not any(key.endswith("mean_weight") for key in unexpected):
        hint += "the checkpoint has no gates: it was not trained with SSN or SN layers. "
    return KeyMismatchError(
        f"the checkpoint does not fit {where}",
        missing=missing,
        unexpected=unexpected,
        misshaped=misshaped,
        expected=f"the {total} keys of {where}",
        found="; ".join(parts),
        hint=hint + "name another network with `arch=`, its options with `arch_args=`, or the "
        "wrapper's prefix with `prefix=`",
    )


def _listed(keys: list[str]) -> str:
    more = f", and {len(keys) - _SHOWN} more" if len(keys) > _SHOWN else ""
    return ", ".join(keys[:_SHOWN]) + more


def _switchable_prefixes(model: nn.Module) -> dict[str, nn.Module]:
    """All layers with gates, ours and others, by every path."""
    named = model.named_modules(remove_duplicate=False)
    return {
        name: module
        for name, module in named
        if isinstance(module, SwitchableNorm) or is_foreign(module)
    }


def _tensor_state(model: nn.Module) -> dict[str, Tensor]:
    return {k: v for k, v in model.state_dict().items() if isinstance(v, Tensor)}
