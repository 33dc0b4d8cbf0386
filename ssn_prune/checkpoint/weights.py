"""From the content of a file to one state dict and the facts that came with it."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

from ssn_prune.checkpoint.entries import entry_of, networks_within, several_networks
from ssn_prune.checkpoint.input_file import SAVE_WEIGHTS
from ssn_prune.checkpoint.reader import CheckpointFile
from ssn_prune.checkpoint.safetensors import PRUNED_KEY
from ssn_prune.checkpoint.stored import StoredTensor, UnsupportedTensor
from ssn_prune.checkpoint.unpickling import Pairs
from ssn_prune.errors import ArgumentError, CheckpointError
from ssn_prune.text import printable, shown

_ENTRIES = ("state_dict", "model_state_dict", "model", "net", "network", "weights", "module")
_EMA_ENTRIES = ("state_dict_ema", "ema_state_dict", "model_ema", "ema_model", "ema")
_LAYOUT = "a state dict, or a dict with one under " + ", ".join(_ENTRIES)
_SAVE = "save with torch.save({'state_dict': model.state_dict()}, path)"
_ARCH_KEYS = ("arch", "model", "architecture")
_WRAPPERS = ("state_dict", "module", "model")
_MAX_FACTS, _MAX_TEXT, _MAX_INTEGER = 100, 1000, 1 << 63
_MAX_KEY = 300  # characters
_DEPTH = 8  # of nested wrappers
_MAX_ELEMENTS = 1 << 48  # also of an empty tensor, whose nonzero sizes torch multiplies too
_MAX_REPEATED = 64 << 20  # bytes by which views may exceed the memory that they share

# By a word in a tensor's kind: how to turn it into a weight.
_CURES = (
    ("meta device", "load the weights into the network before you save its state dict"),
    ("sparse", "save {key: value.to_dense() for key, value in state.items()}"),
    ("quantized", "save {key: value.dequantize() for key, value in state.items()}"),
    ("negated", "save {key: value.resolve_neg() for key, value in state.items()}"),
    ("complex", "name the checkpoint of a network of real numbers"),
    ("dtype", "save {key: value.float() for key, value in state.items()}"),
)
_OTHER_CURE = f"save a state dict of plain tensors: {SAVE_WEIGHTS}"

Found = dict[str, StoredTensor | UnsupportedTensor]


@dataclass(frozen=True)
class Weights:
    """One state dict of a checkpoint.

    Attributes:
        tensors: Keys as in the file.
        entry: The entry of the file that it was taken from; None if the file is a bare state dict.
        others: Other entries that hold weights, such as an EMA.
        arch: The architecture that the checkpoint names.
        facts: Small metadata, such as ``epoch`` and ``best_prec1``.
        input_size: Size of one training input, with channels, if the checkpoint names it.
    """

    tensors: dict[str, StoredTensor]
    entry: str | None
    others: tuple[str, ...]
    arch: str | None
    facts: dict[str, str | int | float]
    input_size: tuple[int, ...] | None


def extract_weights(file: CheckpointFile, entry: str | None = None) -> Weights:
    """Find the weights in a checkpoint.

    Args:
        file: The open file.
        entry: The entry to use. By default it is the first of ``state_dict``,
            ``model_state_dict``, ``model``, ..., else an EMA, else the file itself as a state dict,
            else the only state dict inside it.

    Raises:
        CheckpointError: There are no weights; or several networks, and no ``entry`` is given; or
            tensors of a kind that no network here has.
        ArgumentError: ``entry`` does not hold weights.
    """
    if not isinstance(file.content, Pairs):
        raise _not_weights(file, f"an object of the kind {_kind(file.content)}")
    if PRUNED_KEY in file.metadata:
        raise CheckpointError(
            f"{file.path} holds the weights of a network that is pruned already",
            expected="a checkpoint with switchable layers",
            found=f"{PRUNED_KEY} in its metadata",
            hint="load it with ssn_prune.load_pruned(path, factory)",
        )
    content = file.content.text_items()
    found = {
        key: state
        for key in (*_ENTRIES, *_EMA_ENTRIES)
        if (state := _state_of(content.get(key))) is not None
    }
    if entry is not None:
        state = _state_of(entry_of(content, entry))
        if state is None:
            raise _no_entry(file, entry, content, found)
        tensors, used = state, entry
    elif found:
        used = next(iter(found))
        tensors = found[used]
    elif (bare := _state_of(file.content)) is not None:
        tensors, used = bare, None
    elif inside := networks_within(content, _state_of):
        if len(inside) > 1:
            raise several_networks(file.path, {name: list(inside[name]) for name in inside})
        ((used, tensors),) = inside.items()
    else:
        raise _not_weights(file, f"a dict with {_listed(content) or 'nothing'}")
    named = {**content, **file.metadata}
    names = [name for key in _ARCH_KEYS if isinstance(name := named.get(key), str)]
    return Weights(
        _supported(file, tensors),
        used,
        tuple(key for key in found if key != used),
        next(filter(_is_name, names), None),
        _facts(named),
        _input_size(named.get("input_size")),
    )


def _facts(named: Mapping[str, object]) -> dict[str, str | int | float]:
    """Text and numbers that are stored next to the weights, if printable and not too long."""
    facts: dict[str, str | int | float] = {}
    for key, value in named.items():
        if key in _ARCH_KEYS or not _is_name(key) or len(facts) == _MAX_FACTS:
            continue
        match value:
            case str() if value.isprintable() and len(value) <= _MAX_TEXT:
                facts[key] = value
            case int() if abs(value) < _MAX_INTEGER:
                facts[key] = value
            case float():
                facts[key] = value
    return facts


def _is_name(text: str) -> bool:
    return text.isprintable() and len(text) <= _MAX_KEY


def _input_size(value: object) -> tuple[int, ...] | None:
    """The size if it has the form that our training scripts write; other values are ignored."""
    if not isinstance(value, list | tuple) or not 1 <= len(value) <= 4:
        return None
    sound = all(isinstance(size, int) and 1 <= size <= 1 << 16 for size in value)
    return tuple(value) if sound else None


def _state_of(value: object) -> Found | None:
    """The tensors of ``value`` if it is a state dict, looking into wrappers."""
    for _ in range(_DEPTH):
        if not isinstance(value, Pairs):
            return None
        items = value.text_items()
        tensors = {
            key: item
            for key, item in items.items()
            if isinstance(item, StoredTensor | UnsupportedTensor)
        }
        if tensors and 2 * len(tensors) >= len(value):
            return tensors
        value = next((items[key] for key in _WRAPPERS if isinstance(items.get(key), Pairs)), None)
    return None


def _supported(file: CheckpointFile, tensors: Found) -> dict[str, StoredTensor]:
    """Refuse what cannot be a weight, keys that cannot be names, and views that repeat memory."""
    odd = next((key for key in tensors if not _is_name(key)), None)
    if odd is not None:
        raise _refused(file, shown(odd), "names of parameters", "a key that is no name")
    supported = {}
    for key, tensor in tensors.items():
        if isinstance(tensor, UnsupportedTensor):
            cure = next((cure for word, cure in _CURES if word in tensor.kind), _OTHER_CURE)
            raise _refused(file, key, "dense tensors of real numbers", tensor.kind, cure)
        if math.prod(max(size, 1) for size in tensor.shape) > _MAX_ELEMENTS:
            raise _refused(
                file, key, "a shape that fits into memory", f"the shape {str(tensor.shape)[:80]}"
            )
        supported[key] = tensor
    views = {(id(t.storage), t.dtype, t.offset, t.shape, t.stride): t for t in supported.values()}
    claimed = sum(tensor.nbytes() for tensor in views.values())
    stored = sum({id(t.storage): t.storage.size for t in views.values()}.values())
    if claimed > 4 * stored + _MAX_REPEATED:
        largest = max(supported, key=lambda key: supported[key].nbytes())
        raise _refused(
            file,
            largest,
            f"tensors of at most {4 * stored + _MAX_REPEATED} bytes over {stored} stored bytes",
            f"views that repeat them to {claimed} bytes",
        )
    return supported


def _refused(
    file: CheckpointFile, key: str, expected: str, found: str, hint: str = _OTHER_CURE
) -> CheckpointError:
    return CheckpointError(
        f"{key} of {file.path} cannot be a weight of a switchable network",
        expected=expected,
        found=found,
        hint=hint,
    )


def _kind(value: object) -> str:
    return "tensor" if isinstance(value, StoredTensor | UnsupportedTensor) else type(value).__name__


def _no_entry(
    file: CheckpointFile, entry: str, content: Mapping[str, object], found: Mapping[str, Found]
) -> ArgumentError:
    """The error for an entry without weights; it names the entries that have some."""
    networks = found or networks_within(content, _state_of)
    hint = "leave `weights=` out to take the first"
    if networks:
        offered = f"one of: {_listed(networks)}"
        if not found and len(networks) > 1:  # without a name they are refused
            hint = "pass " + " or ".join(f"`weights={name[:40]!r}`" for name in [*networks][:2])
    elif _state_of(file.content) is not None:
        offered, hint = "none; the file is a bare state dict", "leave `weights=` out"
    else:
        offered, hint = _LAYOUT, _SAVE
    return ArgumentError(
        f"{file.path} has no weights under {entry!r}",
        expected=offered,
        found=f"entries {_listed(content)}",
        hint=hint,
    )


def _listed(content: Mapping[str, object]) -> str:
    return ", ".join(printable(key[:40]) for key in list(content)[:8])


def _not_weights(file: CheckpointFile, found: str) -> CheckpointError:
    return CheckpointError(
        f"{file.path} holds no weights",
        expected=_LAYOUT,
        found=found,
        hint=_SAVE,
    )
