"""Which outputs of a network become outputs of its file: the tensors.

An exported file has only tensors as outputs. None, numbers and strings are the same for every
input, or follow from the inputs' sizes. They are left out, and the statistics of the file say so.
Anything else could contain a tensor, and is refused by its type.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn

from ssn_prune.errors import ExportError
from ssn_prune.surgery.nested import named_leaves

_LEFT_OUT = (
    type(None),
    bool,
    int,
    float,
    complex,
    str,
    bytes,
    torch.SymInt,
    torch.SymFloat,
    torch.SymBool,
    torch.Size,
    torch.dtype,
    torch.device,
)


class TensorOutputs:
    """A forward hook that returns the tensors of a nested output, and stores their names.

    Attributes:
        names: Names of the tensors.
        left_out: Outputs that are not tensors, each with its type, such as ``"output_1 (None)"``.
    """

    def __init__(self) -> None:
        self.names: tuple[str, ...] = ()
        self.left_out: tuple[str, ...] = ()

    def __call__(self, module: nn.Module, inputs: Any, output: Any) -> tuple[Tensor, ...]:
        """Flatten an output.

        Raises:
            ExportError: A part of it is neither a tensor nor a plain value.
        """
        del inputs
        leaves = named_outputs(output)
        for name, leaf in leaves:
            if not isinstance(leaf, (Tensor, *_LEFT_OUT)):
                kind = type(leaf).__name__
                raise ExportError(
                    f"{name} of {type(module).__name__} cannot be an output of an exported file",
                    expected="tensors, in tuples, lists, dicts and dataclasses; None, numbers and "
                    "texts among them are left out",
                    found=f"an object of type {kind}",
                    hint=f"return its tensors, or register {kind} with torch.utils._pytree",
                )
        self.names = tuple(name for name, leaf in leaves if isinstance(leaf, Tensor))
        self.left_out = tuple(
            f"{name} ({_kind(leaf)})" for name, leaf in leaves if not isinstance(leaf, Tensor)
        )
        return tuple(leaf for _, leaf in leaves if isinstance(leaf, Tensor))


@contextmanager
def tensor_outputs(model: nn.Module) -> Iterator[TensorOutputs]:
    """Make ``model`` return a tuple of the tensors among its outputs while the context lasts."""
    outputs = TensorOutputs()
    handle = model.register_forward_hook(outputs)
    try:
        yield outputs
    finally:
        handle.remove()


def named_outputs(output: Any) -> list[tuple[str, Any]]:
    """The leaves of a nested output, named by their keys; a single one is named ``output``."""
    leaves = named_leaves(output)
    if len(leaves) == 1:
        return [("output", leaves[0][1])]
    return [(_name(keys), leaf) for keys, leaf in leaves]


def _name(keys: tuple[Any, ...]) -> str:
    name = "_".join(re.sub(r"\W+", "_", str(key)).strip("_") for key in keys)
    return name if name and not name[0].isdigit() else f"output_{name}"


def _kind(leaf: object) -> str:
    if leaf is None:
        return "None"
    return type(leaf).__name__.removeprefix("Sym").lower()
