"""What was written to a .pt2 file. Data only."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class TorchProgramStats:
    """A program of torch.export in a file.

    Attributes:
        file_name: Its name.
        bytes: Its size.
        sha256: Its hash, by which ``verify`` and ``bench`` know the file again.
        torch_version: The version of torch that wrote it.
        nodes: Calls in the program.
        operators: These calls by operator, such as ``aten.conv2d.default``.
        libraries: What has to be imported before the file can be loaded, besides torch.
        inputs: Names and shapes of the inputs; an open axis has a name.
        outputs: The same of the outputs.
        left_out: The network's outputs that are no tensors, each with its type.
    """

    file_name: str
    bytes: int
    sha256: str
    torch_version: str
    nodes: int
    operators: dict[str, int]
    libraries: tuple[str, ...]
    inputs: dict[str, list[str | int]]
    outputs: dict[str, list[str | int]]
    left_out: tuple[str, ...] = ()
