"""What was written as pruned weights. Data only; nothing here imports torch."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class WeightsStats:
    """A file of pruned weights: its name, its size, its hash, and how many tensors it has."""

    file_name: str
    bytes: int
    sha256: str
    tensors: int
