"""What was written to a .pt2 file. Data only."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class TorchProgramStats:
    """A program of torch.export in a file.

    Attributes:
        file_name: Its name.
        bytes: Its size.
        sha256: Its hash, by which ``verify`` and ``bench`` recognise the file.
        torch_version: The version of torch that wrote it.
        nodes: Number of calls in the program.
        operators: Number of calls of each operator, such as ``aten.conv2d.default``.
        libraries: The libraries to import, besides torch, before the file can be loaded.
        inputs: Names and shapes of the inputs; a dynamic axis is given by its name.
        outputs: Names and shapes of the outputs, in the same form.
        left_out: The network's outputs that are not tensors, each with its type.
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
