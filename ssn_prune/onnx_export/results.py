"""What an export wrote. Data only."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class OnnxStats:
    """An exported file: nodes, operators by kind, bytes, and how it was exported."""

    file_name: str
    bytes: int
    external_data: str | None
    nodes: int
    operators: dict[str, int]
    opset: int
    ir_version: int
    inputs: dict[str, list[str | int]]
    outputs: dict[str, list[str | int]]
