"""Match the keys of a checkpoint with those of a network: shapes, near matches."""

from __future__ import annotations

import difflib
from collections.abc import Mapping

from torch import Tensor, nn
from torch.nn.modules.conv import _ConvNd

from ssn_prune.checkpoint.layer_kind import require_same_kind
from ssn_prune.checkpoint.prefixes import prefixes_with
from ssn_prune.checkpoint.reference_format import VECTORS
from ssn_prune.errors import KeyMismatchError
from ssn_prune.nn.switchable import SwitchableNorm
from ssn_prune.nn.variance_kind import FROM_PLANES, OWN_COUNT
from ssn_prune.surgery.from_reference import is_foreign
from ssn_prune.text import listed

_PER_CHANNEL = ("weight", "bias", "running_mean", "running_var")
_OPTIONAL = ("mean_fixed", "var_fixed", "radius", "_extra_state")
_SHOWN = 12
_KERNELS = (nn.Linear, _ConvNd)


def misshaped_keys(
    model: nn.Module, tensors: Mapping[str, Tensor]
) -> dict[str, tuple[tuple[int, ...], tuple[int, ...]]]:
    """Shared keys whose shapes differ: (checkpoint's shape, network's shape).

    Per-channel tensors of switchable layers match in any layout with the same number of entries;
    their extra state also matches in the shorter form of older files.
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


def load_weights(
    model: nn.Module, tensors: Mapping[str, Tensor], where: str, taken: str = ""
) -> None:
    """Load weights strictly, in place.

    Args:
        model: The network.
        tensors: Weights with the network's keys.
        where: Name of the architecture, for messages.
        taken: Prefix that was removed from the file's keys.

    Raises:
        KeyMismatchError: Keys or shapes differ.
        CheckpointError: A layer was trained with other normalizers, or with two gates where the
            network has one.
    """
    layers = _switchable_prefixes(model)
    own = _tensor_state(model)
    for name, layer in layers.items():  # first: the sizes of gates differ, too
        if isinstance(layer, SwitchableNorm):
            require_same_kind(name, layer, tensors)
    require_same_keys(model, tensors, where, taken)
    loaded = {k: v for k, v in tensors.items() if k in own}
    for key in loaded.keys() & _reshaped_keys(layers):
        loaded[key] = loaded[key].reshape(own[key].shape)
    model.load_state_dict(loaded, strict=False)


def require_same_keys(
    model: nn.Module, tensors: Mapping[str, Tensor], where: str, taken: str = ""
) -> None:
    """Refuse weights that are not those of a network.

    Args:
        model: The network, which may be on the meta device.
        tensors: Weights with the network's keys.
        where: Name of the architecture, for messages.
        taken: Prefix that was removed from the file's keys.

    Raises:
        KeyMismatchError: Keys or shapes differ.
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
        prefixes = prefixes_with(tensors, [key for key in own if not optional(key)])
        cause = _cause(model, tensors, missing, unexpected, shapes)
        if prefixes:
            options = " or ".join(f"`prefix={taken + prefix!r}`" for prefix in prefixes[:3])
            cause = f"every key is there under a prefix: pass {options}. "
        raise _mismatch(where, missing, unexpected, misshaped, len(own), cause)


def take_kind(model: nn.Module, tensors: Mapping[str, Tensor]) -> None:
    """Adopt, in place, the kind of variance that files of ssn_prune record.

    It is for networks whose foreign layers have been replaced.

    Args:
        model: The network with layers of ssn_prune.
        tensors: Weights with the network's keys, which are already loaded.

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


def take_reference_kind(model: nn.Module, tensors: Mapping[str, Tensor]) -> None:
    """Adopt, in place, the kind of variance that the reference layout implies.

    Args:
        model: The network, whose layers of another implementation are left alone.
        tensors: Weights with the network's keys. Layers whose kind the file records are left alone.
    """
    for name, layer in _switchable_prefixes(model).items():
        prefix = f"{name}." if name else ""
        weight = tensors.get(f"{prefix}weight")
        axes = 0 if weight is None else weight.dim()
        said = axes < VECTORS or f"{prefix}_extra_state" in tensors
        if isinstance(layer, SwitchableNorm) and not said:
            layer.correction = OWN_COUNT if axes == VECTORS else FROM_PLANES


def _reshaped_keys(layers: Mapping[str, nn.Module]) -> set[str]:
    """Keys of another implementation's layers, which do not know ssn_prune's layout (C,)."""
    return {
        f"{prefix}.{leaf}" if prefix else leaf
        for prefix, layer in layers.items()
        if not isinstance(layer, SwitchableNorm)
        for leaf in _PER_CHANNEL
    }


def _mismatch(
    where: str,
    missing: list[str],
    unexpected: list[str],
    misshaped: list[str],
    total: int,
    cause: str,
) -> KeyMismatchError:
    near = []
    for key in missing[:_SHOWN]:
        match = difflib.get_close_matches(key, unexpected, n=1, cutoff=0.8)
        near += [f"{match[0]} -> {key}"] if match else []
    parts = [
        f"{len(keys)} {label} ({listed(keys, _SHOWN)})"
        for label, keys in (
            ("missing", missing),
            ("unexpected", unexpected),
            ("of another shape", misshaped),
        )
        if keys
    ]
    hint = f"near matches: {'; '.join(near[:4])}. " if near else ""
    hint += cause
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


Shapes = dict[str, tuple[tuple[int, ...], tuple[int, ...]]]


_GATES = ("mean_weight", "var_weight")


def _cause(
    model: nn.Module,
    tensors: Mapping[str, object],
    missing: list[str],
    unexpected: list[str],
    shapes: Shapes,
) -> str:
    """What the differences have in common, as a sentence; empty if there is nothing."""
    gates = _GATES
    if any(key.endswith(gates) for key in missing) and not any(k.endswith(gates) for k in tensors):
        return "the checkpoint has no gates: it was not trained with SSN or SN layers. "
    if missing or unexpected or not shapes:
        return ""
    for key, (a, b) in shapes.items():
        if key.rpartition(".")[2] in gates and len(a) == len(b) == 1:
            layer = key.rpartition(".")[0] or "the layer"
            return (
                f"{layer} was trained with {a[0]} normalizers and offers {b[0]} in the network: "
                "build it with the normalizers that it was trained with, such as "
                "normalizers=('IN', 'LN') for two. "
            )
    changes = {(a[0], b[0]) for a, b in shapes.values() if a and b and a[1:] == b[1:]}
    same_inputs = all(a[1:] == b[1:] for a, b in shapes.values())
    last = _last_kernel(model)
    of_last = {key for key in tensors if last is not None and key.rpartition(".")[0] == last}
    if of_last == shapes.keys() and len(changes) == 1 and same_inputs:
        ((theirs, ours),) = changes
        return (
            f"{last} has {theirs} outputs in the checkpoint and {ours} in the network, "
            f"which is another number of classes: pass `arch_args={{'num_classes': {theirs}}}`, or "
            "the name that your network has for it. "
        )
    of_radius = any(key.rpartition(".")[2] == "radius" for key in shapes)
    if all(len(a) == len(b) for a, b in shapes.values()) and not of_radius:
        return (
            "every key is there, and only sizes differ: the checkpoint is of a network of another "
            "width, or of other inputs. "
        )
    return ""


def _last_kernel(model: nn.Module) -> str | None:
    """The path of the last linear layer or convolution, which gives the classes."""
    named = [name for name, module in model.named_modules() if isinstance(module, _KERNELS)]
    return named[-1] if named else None


def _switchable_prefixes(model: nn.Module) -> dict[str, nn.Module]:
    """All layers with gates, ours and foreign ones, by all their paths."""
    named = model.named_modules(remove_duplicate=False)
    return {
        name: module
        for name, module in named
        if isinstance(module, SwitchableNorm) or is_foreign(module)
    }


def _tensor_state(model: nn.Module) -> dict[str, Tensor]:
    return {k: v for k, v in model.state_dict().items() if isinstance(v, Tensor)}
