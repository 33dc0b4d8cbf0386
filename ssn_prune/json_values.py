"""Records as JSON."""

from __future__ import annotations

import dataclasses
import enum
import math
from typing import Any


def to_json(value: Any, *, defaults: bool = True) -> Any:
    """Turn reports into values that ``json.dumps`` takes.

    Enums with string values become these values, others their names: a normalizer is ``"BN"``.
    Numbers that are not finite become None.

    Args:
        value: A record, or what it holds.
        defaults: Keep fields that have their default value.
    """
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return {
            field.name: to_json(found, defaults=defaults)
            for field in dataclasses.fields(value)
            if (found := getattr(value, field.name)) != field.default or defaults
        }
    if isinstance(value, enum.Enum):
        return value.value if isinstance(value.value, str) else value.name
    if isinstance(value, dict):
        return {str(to_json(k)): to_json(item, defaults=defaults) for k, item in value.items()}
    if isinstance(value, list | tuple):
        return [to_json(item, defaults=defaults) for item in value]
    if isinstance(value, float) and not math.isfinite(value):
        return None  # JSON has no such numbers
    return value
