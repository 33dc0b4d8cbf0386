"""Read costs from a file, measured here or on another device. The file is not trusted."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NoReturn, TypeVar

from ssn_prune.costs.records import SCHEMA_VERSION, Costs, LayerPairCost, LayerShapes
from ssn_prune.errors import CostsError
from ssn_prune.files import bounded_text
from ssn_prune.normalizer import ALL_PAIRS, NormalizerPair
from ssn_prune.text import printable, shortened, shown

LARGEST_FILE = 8 * 2**20
"""Costs of 100 layers take 0.1 MB."""
_NOISE, _NOISE_MS = 0.05, 0.1
"""By noise, a measured cost may be negative by this share of the network's time, and this many
milliseconds."""
_LARGEST = 2**31
T = TypeVar("T")


def read_costs(path: Path | str) -> Costs:
    """Read costs that ``ssn-prune costs`` or the runner of its probes has written.

    Args:
        path: A JSON file; docs/costs.md says what it holds.

    Raises:
        CostsError: It is missing, too large, incomplete, of another version, or holds impossible
            values.
    """
    path = Path(path)
    try:
        document: Any = json.loads(_text(path), parse_constant=_no_number)
    except (ValueError, RecursionError) as error:
        found = (
            "lists that are nested too deeply" if isinstance(error, RecursionError) else str(error)
        )
        raise _error(f"{path} is not JSON", "a complete JSON document", found) from error
    return costs_of(document)


def costs_of(document: Any) -> Costs:
    """Make costs from a JSON document.

    Raises:
        CostsError: A field is missing or holds an impossible value.
    """
    fields = _Fields(document, "the document")
    version = fields.number("schema_version", whole=True)
    if version != SCHEMA_VERSION:
        raise _error(
            "the costs are in another version of the format",
            f"schema_version {SCHEMA_VERSION}",
            str(version),
        )
    norm_free = None
    if fields.get("norm_free_ms") is not None:
        norm_free = fields.number("norm_free_ms", least=1e-6)
    shapes = tuple(
        LayerShapes(
            entry.text("layer"),
            tuple(_shape(shape, f"{entry.place}.inputs") for shape in entry.entries("inputs")),
        )
        for entry in fields.objects("shapes")
    )
    layers = tuple(
        LayerPairCost(entry.text("layer"), _pair(entry), entry.number("milliseconds"))
        for entry in fields.objects("layers")
    )
    _require_sound(shapes, layers, norm_free)
    return Costs(
        schema_version=SCHEMA_VERSION,
        date=fields.label("date"),
        runtime=fields.label("runtime"),
        processor=fields.label("processor"),
        provider=fields.label("provider"),
        threads=int(fields.number("threads", least=1, whole=True)),
        batch=int(fields.number("batch", least=1, whole=True)),
        target=fields.label("target"),
        input_sizes=tuple(_shape(size, "input_sizes") for size in fields.entries("input_sizes")),
        norm_free_ms=norm_free,
        shapes=shapes,
        layers=layers,
    )


class _Fields:
    """An object of the document, and where it is."""

    def __init__(self, value: Any, place: str) -> None:
        if not isinstance(value, dict):
            raise _wrong(place, "an object", value)
        self.values: Mapping[str, Any] = value
        self.place = place

    def get(self, name: str) -> Any:
        if name not in self.values:
            raise _error(f"{self.place} lacks the field {name}", name, "other fields only")
        return self.values[name]

    def number(self, name: str, *, least: float = -math.inf, whole: bool = False) -> float:
        value = self.get(name)
        kinds = int if whole else int | float
        # Also refuses whole numbers of so many digits that they become infinite.
        if isinstance(value, bool) or not isinstance(value, kinds) or not abs(value) < _LARGEST:
            raise _wrong(f"{self.place}.{name}", "a number", value)
        if value < least:
            raise _wrong(f"{self.place}.{name}", f"a number from {least:g} on", value)
        return value

    def text(self, name: str) -> str:
        value = self.get(name)
        if not isinstance(value, str):
            raise _wrong(f"{self.place}.{name}", "a text", value)
        return value

    def label(self, name: str) -> str:
        return printable(shortened(self.text(name), 200))

    def entries(self, name: str) -> Sequence[Any]:
        value = self.get(name)
        if not isinstance(value, list):
            raise _wrong(f"{self.place}.{name}", "a list", value)
        return value

    def objects(self, name: str) -> list[_Fields]:
        return [_Fields(v, f"{name}[{index}]") for index, v in enumerate(self.entries(name))]


def _pair(entry: _Fields) -> NormalizerPair:
    pair = _Fields(entry.get("pair"), f"{entry.place}.pair")
    for known in ALL_PAIRS:
        if (known.mean.name, known.var.name) == (pair.text("mean"), pair.text("var")):
            return known
    raise _wrong(pair.place, "mean and var, each IN, LN or BN", dict(pair.values))


def _shape(value: Any, place: str) -> tuple[int, ...]:
    sizes = value if isinstance(value, list) else []
    if not sizes or not all(type(size) is int and 0 < size < _LARGEST for size in sizes):
        raise _wrong(place, "a shape, as a list of sizes", value)
    return tuple(sizes)


def _require_sound(
    shapes: Sequence[LayerShapes], layers: Sequence[LayerPairCost], norm_free: float | None
) -> None:
    names = {entry.layer for entry in shapes}
    if not names or len(names) < len(shapes):
        raise _error("shapes does not say where each layer stands", "every layer once", "others")
    for entry in shapes:
        if any(len(shape) < 2 for shape in entry.inputs):
            raise _wrong("shapes", "inputs (N, C, *)", entry.inputs)
    seen = {(entry.layer, entry.pair) for entry in layers}
    if len(seen) < len(layers) or any(entry.layer not in names for entry in layers):
        raise _error(
            "layers does not fit shapes",
            "each pair of a layer once, and only of layers that are in shapes",
            "a pair twice" if len(seen) < len(layers) else "a layer that is not there",
        )
    positive = sum(max(0.0, entry.milliseconds) for entry in layers)
    least = -_NOISE_MS - (positive if norm_free is None else _NOISE * norm_free)
    for cost in layers:
        if cost.milliseconds < least:
            raise _error(
                f"{cost.pair} at {shown(cost.layer)} is said to cost less than nothing",
                "costs above those of BN/BN, or below 0 by no more than noise",
                f"{cost.milliseconds:g} ms",
            )


def _text(path: Path) -> str:
    try:
        return bounded_text(path, LARGEST_FILE)
    except (OSError, ValueError) as error:
        raise _error(
            f"{path} cannot be read as costs",
            f"a JSON document of at most {LARGEST_FILE // 2**20} MB",
            getattr(error, "strerror", None) or str(error),
        ) from error


def _no_number(name: str) -> NoReturn:
    raise ValueError(f"{name}, which is not a JSON number")


def _wrong(place: str, expected: str, value: Any) -> CostsError:
    kind = {dict: "an object", list: "a list", type(None): "null"}.get(type(value))
    found = kind or shown(str(value)[:200] if not isinstance(value, int) else "a number")
    return _error(f"{printable(place)} does not hold what costs need there", expected, found)


def _error(problem: str, expected: str, found: str) -> CostsError:
    hint = "measure the costs again: leave `costs=` out to do so here"
    return CostsError(problem, expected=expected, found=printable(found), hint=hint)
