"""Records as JSON."""

from __future__ import annotations

import dataclasses
import enum
import math
from typing import Any


def to_json(value: Any) -> Any:
    """Turn reports into what ``json.dumps`` takes.

    Enums with string values become these codes, others their names: a normalizer is ``"BN"``.
    Numbers that are not finite become None.
    """
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        fields = dataclasses.fields(value)
        return {field.name: to_json(getattr(value, field.name)) for field in fields}
    if isinstance(value, enum.Enum):
        return value.value if isinstance(value.value, str) else value.name
    if isinstance(value, dict):
        return {str(to_json(key)): to_json(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [to_json(item) for item in value]
    if isinstance(value, float) and not math.isfinite(value):
        return None  # JSON has no such numbers
    return value
