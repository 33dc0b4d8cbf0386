"""From JSON to records: the inverse of :func:`ssn_prune.json_values.to_json`, for untrusted files.

The records' annotations say what a field may hold. A field that has a default may be missing, a
number that is null was not finite, and unknown fields are ignored.
"""

from __future__ import annotations

import dataclasses
import enum
import functools
import math
import types
from collections.abc import Hashable, Mapping
from typing import Any, Literal, TypeVar, Union, cast, get_args, get_origin, get_type_hints

from ssn_prune.errors import ArgumentError, ReportError
from ssn_prune.text import shown

T = TypeVar("T")

_SIGNED = (
    "preprocessing.mean",
    "search.options.seed",
    "search.saved",
)
"""Fields besides differences that may be negative; all others are counts, sizes and errors."""
LARGEST = 2**63
"""Whole numbers from this on are refused; nothing is that large."""


def decoded(kind: type[T], value: Any, place: str = "") -> T:
    """Make a record from a JSON value.

    Args:
        kind: The record's class.
        value: The value from ``json.loads``.
        place: Its place in the document, for errors.

    Raises:
        ReportError: A field is missing or has another type or range.
    """
    if not isinstance(value, dict):
        raise _wrong(place, "an object", value)
    arguments = {}
    for field, hint, optional in _fields(cast(Hashable, kind)):
        where = f"{place}.{field}" if place else field
        if field in value:
            arguments[field] = _value(hint, value[field], where)
        elif not optional:
            raise ReportError(
                f"the report lacks the field {where}",
                expected=f"the fields of {kind.__name__}",
                found=f"{len(value)} other fields",
                hint=_HINT,
            )
    try:
        return kind(**arguments)
    except ArgumentError as error:  # the numbers of a preprocessing do not fit each other
        raise _wrong(place, error.expected or "", value) from error


_HINT = "write the report again, with this version of ssn_prune"


@functools.cache
def _fields(kind: Hashable) -> list[tuple[str, Any, bool]]:
    hints = get_type_hints(kind)
    missing = dataclasses.MISSING
    return [
        (f.name, hints[f.name], f.default is not missing or f.default_factory is not missing)
        for f in dataclasses.fields(cast(Any, kind))
    ]


def _value(hint: Any, value: Any, place: str) -> Any:
    origin = get_origin(hint)
    if hint is Any:
        return value
    if getattr(hint, "_is_protocol", False):  # fields of other export formats are not decoded
        raise _wrong(place, "an object", value)
    if origin in (Union, types.UnionType):
        return _one_of(get_args(hint), value, place)
    if origin is Literal:
        if value not in get_args(hint):
            raise _wrong(place, " or ".join(map(str, get_args(hint))), value)
        return value
    if origin in (tuple, list):
        return _sequence(origin, get_args(hint), value, place)
    if origin in (dict, Mapping):
        if not isinstance(value, dict):
            raise _wrong(place, "an object", value)
        inner = get_args(hint)[1]
        return {key: _value(inner, item, f"{place}.{key}") for key, item in value.items()}
    if dataclasses.is_dataclass(hint):
        return decoded(hint, value, place)  # type: ignore[arg-type]
    return _scalar(hint, value, place)


def _one_of(kinds: tuple[Any, ...], value: Any, place: str) -> Any:
    if value is None and type(None) in kinds:
        return None
    left = [kind for kind in kinds if kind is not type(None)]
    if len(left) == 1:  # so that the error names the expected type
        return _value(left[0], value, place)
    for kind in left:
        try:
            return _value(kind, value, place)
        except ReportError:
            continue
    raise _wrong(place, " or ".join(getattr(k, "__name__", str(k)) for k in left), value)


def _sequence(origin: Any, kinds: tuple[Any, ...], value: Any, place: str) -> Any:
    if not isinstance(value, list):
        raise _wrong(place, "a list", value)
    if origin is tuple and kinds[-1] is not Ellipsis and len(value) != len(kinds):
        raise _wrong(place, f"{len(kinds)} entries", value)
    several = [kinds[0]] * len(value) if origin is list or kinds[-1] is Ellipsis else kinds
    made = (_value(k, v, f"{place}[{i}]") for i, (k, v) in enumerate(zip(several, value)))  # noqa: B905
    return origin(made)


def _scalar(hint: Any, value: Any, place: str) -> Any:
    if isinstance(hint, type) and issubclass(hint, enum.Enum):
        for entry in hint:
            if value == (entry.value if isinstance(entry.value, str) else entry.name):
                return entry
        raise _wrong(place, " or ".join(entry.name for entry in hint), value)
    signed = place.startswith(_SIGNED) or ".difference." in place
    if hint is float:
        if value is None:
            return math.nan
        number = isinstance(value, int | float) and not isinstance(value, bool)
        if number and abs(value) < 1e300 and (signed or value >= 0):
            return float(value)
        raise _wrong(place, "a number" if signed else "a number, not negative", value)
    if hint is int:
        least = -LARGEST if signed else 0
        if isinstance(value, int) and not isinstance(value, bool) and least <= value < LARGEST:
            return value
        raise _wrong(place, f"a whole number{'' if signed else ', not negative'}", value)
    if isinstance(value, hint):
        return value
    raise _wrong(place, {str: "a text", bool: "true or false"}.get(hint, hint.__name__), value)


def _wrong(place: str, expected: str, value: Any) -> ReportError:
    kind = {dict: "an object", list: "a list", type(None): "null"}.get(type(value))
    return ReportError(
        f"{place or 'the document'} does not hold what a report needs there",
        expected=expected,
        found=kind or shown(str(value)),
        hint=_HINT,
    )
