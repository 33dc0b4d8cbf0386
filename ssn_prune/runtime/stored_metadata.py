"""The metadata that the conversion stores in a file, read from a file that may say anything."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import onnx

from ssn_prune.errors import ArgumentError, InferenceRuntimeError
from ssn_prune.images.preprocessing import Preprocessing
from ssn_prune.text import printable, shortened

SOURCE_KEY = "ssn_prune.source"
SHA256_KEY = "ssn_prune.source_sha256"
SELECTION_KEY = "ssn_prune.selection"
LAYER_VALUES_KEY = "ssn_prune.layer_outputs"
TARGET_KEY = "ssn_prune.target"
PREPROCESSING_KEY = "ssn_prune.preprocessing"
NOTE_KEY = "ssn_prune.preprocessing_note"

_LONGEST_JSON = 16 << 20
_LONGEST_NAME = 1000
_LONGEST_NOTE = 10_000
_LARGEST = 1e6


@dataclass(frozen=True)
class StoredSource:
    """The checkpoint that a file was made from.

    Attributes:
        file_name: Its name, without folders.
        sha256: Its hash.
    """

    file_name: str
    sha256: str


@dataclass(frozen=True)
class StoredLayer:
    """What one layer selected.

    Attributes:
        name: Path of the layer.
        mean: Normalizer of its mean, or ``mixed``.
        var: Normalizer of its variance, or ``mixed``.
        form: Class that it became.
    """

    name: str
    mean: str
    var: str
    form: str


@dataclass(frozen=True)
class StoredPreprocessing:
    """How images become inputs of a file.

    Attributes:
        how: The preprocessing.
        embedded: Whether the file itself does the last step, the normalization, and takes pixels,
            uint8.
    """

    how: Preprocessing
    embedded: bool


def stored_source(model: onnx.ModelProto) -> StoredSource | None:
    """The checkpoint that a model names; None if it names none in the form that we write."""
    return source_in(_properties(model))


def source_in(stored: Mapping[str, str]) -> StoredSource | None:
    """The same, from metadata that have been read."""
    name, sha256 = stored.get(SOURCE_KEY), stored.get(SHA256_KEY, "")
    if not name or not re.fullmatch("[0-9a-f]{64}", sha256):
        return None
    return StoredSource(printable(shortened(name)), sha256)


def stored_target(model: onnx.ModelProto) -> str | None:
    """The target that a model names; None if it names none in the form that we write."""
    found = _properties(model).get(TARGET_KEY, "")
    return found if re.fullmatch("[a-z0-9]{1,40}", found) else None


def stored_layer_values(model: onnx.ModelProto) -> dict[str, str]:
    """The names of the values that equal the layers' outputs; malformed ones are left out."""
    return layer_values_in(_properties(model))


def layer_values_in(stored: Mapping[str, str]) -> dict[str, str]:
    """The same, from metadata that have been read."""
    found = _parsed(stored.get(LAYER_VALUES_KEY, "{}"))
    if not isinstance(found, dict):
        return {}
    return {layer: value for layer, value in found.items() if _is_name(layer) and _is_name(value)}


def stored_selection(model: onnx.ModelProto, name: str) -> list[StoredLayer]:
    """What every layer selected; empty if the model does not say.

    Args:
        model: The model.
        name: Name of the file, for errors.

    Raises:
        InferenceRuntimeError: The selection is not in the form that we write.
    """
    text = _properties(model).get(SELECTION_KEY, "{}")
    found = _parsed(text)
    if isinstance(found, dict):
        layers = [_layer(layer, chosen) for layer, chosen in found.items()]
        known = [layer for layer in layers if layer is not None]
        if len(known) == len(layers):
            return known
    raise InferenceRuntimeError(
        f"the metadata {SELECTION_KEY} of {name} are damaged",
        expected="what the conversion writes: a mean, a variance and a form for every layer",
        found=printable(shortened(text)) or "nothing",
        hint="convert again, or pass `profile=False` to measure the file without its layers",
    )


def preprocessing_text(model: onnx.ModelProto) -> dict[str, str]:
    """What a model says of its preprocessing, as metadata for :func:`preprocessing_in`."""
    text = _properties(model).get(PREPROCESSING_KEY, "")
    return {PREPROCESSING_KEY: text} if 0 < len(text) <= _LONGEST_NOTE else {}


def preprocessing_in(stored: Mapping[str, str]) -> StoredPreprocessing | None:
    """How images become inputs; None if the metadata do not say so in the form that we write."""
    found = _parsed(stored.get(PREPROCESSING_KEY, "null"))
    if not isinstance(found, dict) or not isinstance(found.get("embedded"), bool):
        return None
    size, resize = found.get("size"), found.get("resize")
    mean, std = _numbers(found.get("mean")), _numbers(found.get("std"))
    if not isinstance(size, list) or len(size) != 3 or mean is None or std is None:
        return None
    if not all(map(_is_size, size)) or not (resize is None or _is_size(resize)):
        return None
    try:
        interpolation = found.get("interpolation", "")
        how = Preprocessing((size[0], size[1], size[2]), mean, std, resize, interpolation)
    except (ArgumentError, TypeError):  # the values do not fit each other
        return None
    return StoredPreprocessing(how, found["embedded"])


def _numbers(value: Any) -> tuple[float, ...] | None:
    if not isinstance(value, list) or not all(type(n) in (int, float) for n in value):
        return None
    return tuple(map(float, value)) if all(abs(n) < _LARGEST for n in value) else None


def _is_size(value: Any) -> bool:
    return type(value) is int and 0 < value < 1 << 16


def _layer(name: str, chosen: Any) -> StoredLayer | None:
    if not isinstance(chosen, dict) or not {"mean", "var", "form"} <= chosen.keys():
        return None
    mean, var = ("mixed" if isinstance(chosen[k], dict) else chosen[k] for k in ("mean", "var"))
    texts = (name, mean, var, chosen["form"])
    return StoredLayer(*texts) if all(map(_is_name, texts)) else None


def _properties(model: onnx.ModelProto) -> dict[str, str]:
    return {entry.key: entry.value for entry in model.metadata_props}


def _parsed(text: str) -> Any:
    """The JSON value; None if it is not valid JSON, or is longer than what we write."""
    if len(text) > _LONGEST_JSON:
        return None
    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        return None


def _is_name(value: Any) -> bool:
    return isinstance(value, str) and 0 < len(value) <= _LONGEST_NAME
