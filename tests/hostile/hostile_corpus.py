"""All hostile files."""

from __future__ import annotations

import hostile_code
import hostile_legacy
import hostile_metadata
import hostile_safetensors
import hostile_structures
import hostile_tensors
import hostile_zip
from hostile_case import Case

CASES: tuple[Case, ...] = (
    *hostile_code.CASES,
    *hostile_structures.CASES,
    *hostile_tensors.CASES,
    *hostile_zip.CASES,
    *hostile_legacy.CASES,
    *hostile_safetensors.CASES,
    *hostile_metadata.CASES,
)
