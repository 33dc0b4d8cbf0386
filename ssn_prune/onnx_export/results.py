"""Statistics of an exported file. Data only."""

from __future__ import annotations

from dataclasses import dataclass, field


@dataclass(frozen=True)
class PassRecord:
    """A pass over the exported graph that changed something.

    Attributes:
        code: Its name in :data:`ssn_prune.onnx_export.passes.table.PASSES`.
        count: Number of changes.
        modules: Paths of the modules where it did.
    """

    code: str
    count: int
    modules: tuple[str, ...]


@dataclass(frozen=True)
class MisreadRecord:
    """Nodes in the file that a runtime computes differently from ONNX, without an error.

    Attributes:
        runtime: Name of the runtime.
        what: The nodes, for people.
        modules: Paths of the modules where they are.
        target: The target whose passes avoid them; None if there is none.
    """

    runtime: str
    what: str
    modules: tuple[str, ...]
    target: str | None


@dataclass(frozen=True)
class OnnxStats:
    """An exported file: nodes, operators by kind, bytes, and how it was exported.

    ``target`` is what the file is for. ``left_out`` are the network's outputs that are not tensors,
    each with its type. ``misread`` are nodes that some runtime computes wrongly without an error.
    ``sha256`` is the hash of the file; a separate file of weights has its own in its name.
    ``types`` are the element types of inputs and outputs, by name.
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
