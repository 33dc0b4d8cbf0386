"""What an export wrote. Data only."""

from __future__ import annotations

from dataclasses import dataclass, field


@dataclass(frozen=True)
class PassRecord:
    """A pass over the exported graph that changed something.

    Attributes:
        code: Its name in :data:`ssn_prune.onnx_export.passes.table.PASSES`.
        count: How often it did.
        modules: Where: paths in the network.
    """

    code: str
    count: int
    modules: tuple[str, ...]


@dataclass(frozen=True)
class MisreadRecord:
    """Something in the file that a runtime computes differently from ONNX, without an error.

    Attributes:
        runtime: The runtime.
        what: The nodes, for people.
        modules: Where they are: paths in the network.
        target: The target that has none of it; None if there is none.
    """

    runtime: str
    what: str
    modules: tuple[str, ...]
    target: str | None


@dataclass(frozen=True)
class OnnxStats:
    """An exported file: nodes, operators by kind, bytes, and how it was exported.

    ``target`` is what it is for; ``left_out`` are the network's outputs that are no tensors, each
    with its type; ``misread`` is what some runtime gets wrong without an error; ``sha256`` is the
    hash of the file, whose separate weights have theirs in their name; ``types`` are the element
    types of inputs and outputs, by name.
    """

    file_name: str
    bytes: int
    external_data: str | None
    nodes: int
    operators: dict[str, int]
    opset: int
    ir_version: int
    inputs: dict[str, list[str | int]]
    outputs: dict[str, list[str | int]]
    passes: tuple[PassRecord, ...] = ()
    left_out: tuple[str, ...] = ()
    target: str = "portable"
    misread: tuple[MisreadRecord, ...] = ()
    sha256: str | None = None
    types: dict[str, str] = field(default_factory=dict)
