"""Look at the outputs of named modules during one call, and keep them out of memory.

In float64, the outputs of the layers of a ResNet-152 for two samples take twice the memory of its
weights. Those of one network are therefore written to a file, and those of the other are compared
as they appear.
"""

from __future__ import annotations

import contextlib
import math
import tempfile
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from types import TracebackType
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils import _pytree as pytree

from ssn_prune.errors import OutputError
from ssn_prune.surgery.nested import tensor_leaves, undefined_entries

OutputHook = Callable[[str, list[Tensor]], None]
"""Called with the path of a module and the tensors of its output, which it must copy to keep.

For a nested output, a tensor that describes its structure comes first.
"""


def run_with_output_hooks(
    model: nn.Module, inputs: tuple[Any, ...], names: Iterable[str], hook: OutputHook | None
) -> list[Tensor]:
    """Run ``model`` and show the output of every call of the named modules.

    Args:
        model: Any network; afterwards its hooks are as before.
        inputs: Positional inputs.
        names: Paths of modules.
        hook: Called at each call of one of them, in order; None if nothing is looked at.

    Returns:
        The output's tensors.
    """
    handles = []

    def hook_of(name: str) -> Any:
        def show(_module: nn.Module, _inputs: Any, output: Any) -> None:
            if hook is not None:
                hook(
                    name, [*_structure(output), *(leaf.detach() for leaf in tensor_leaves(output))]
                )

        return show

    try:
        for name in names:
            handles.append(model.get_submodule(name).register_forward_hook(hook_of(name)))
        with torch.no_grad():
            return [leaf.detach() for leaf in tensor_leaves(model(*inputs))]
    finally:
        for handle in handles:
            handle.remove()


def _structure(output: Any) -> list[Tensor]:
    """The structure of a nested output as a tensor; nothing for a tensor.

    A tuple of one tensor is not that tensor: code that indexes it gets something else.
    """
    if isinstance(output, Tensor):
        return []
    described = str(pytree.tree_structure(output)).encode()
    return [torch.tensor(list(described), dtype=torch.uint8)]


@dataclass(frozen=True)
class _Record:
    offset: int
    shape: torch.Size
    dtype: torch.dtype


class SpilledOutputs:
    """An output hook that writes everything to an anonymous temporary file; a context manager."""

    def __init__(self) -> None:
        with _temporary_disk():
            self._file = tempfile.TemporaryFile()  # noqa: SIM115  # closed by __exit__
        self._records: dict[str, list[list[_Record]]] = {}

    def __enter__(self) -> SpilledOutputs:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._file.close()

    def __call__(self, name: str, values: list[Tensor]) -> None:
        """Write the output of one call.

        Raises:
            OutputError: The disk for temporary files is full or fails.
        """
        self._records.setdefault(name, []).append([self._written(value) for value in values])

    def _written(self, value: Tensor) -> _Record:
        record = _Record(self._file.seek(0, 2), value.shape, value.dtype)
        if value.numel():
            raw = value.cpu().contiguous().flatten().view(torch.uint8)
            with _temporary_disk():
                self._file.write(raw.numpy().data)
                self._file.flush()
        return record

    def clear(self) -> None:
        """Forget everything."""
        self._records.clear()
        self._file.truncate(0)

    @property
    def layers(self) -> dict[str, int]:
        """By name, the number of calls, in the order in which the layers first ran."""
        return {name: len(calls) for name, calls in self._records.items()}

    def read(self, name: str, call: int) -> list[Tensor] | None:
        """What one call gave, on the CPU; None if there was no such call."""
        calls = self._records.get(name, [])
        if call >= len(calls):
            return None
        return [self._value(record) for record in calls[call]]

    def _value(self, record: _Record) -> Tensor:
        size = record.shape.numel() * record.dtype.itemsize
        if not size:
            return torch.empty(record.shape, dtype=record.dtype)
        raw = bytearray(size)
        self._file.seek(record.offset)
        self._file.readinto(raw)
        return torch.frombuffer(raw, dtype=record.dtype).view(record.shape)


@contextlib.contextmanager
def _temporary_disk() -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise OutputError(
            "the outputs of the layers cannot be written to a temporary file",
            expected="a folder for temporary files with enough space",
            found=error.strerror or str(error),
            hint="free space there, or set TMPDIR to a folder on another disk",
        ) from error


class ComparedOutputs:
    """An output hook that compares each call with what :class:`SpilledOutputs` holds for it.

    Args:
        expected: The outputs of the other network.
        error: The error of a list of tensors, from that list and the expected one.

    Attributes:
        errors: Errors by name and call; inf for a call that the other network did not make.
        undefined: Where the expected output of a module holds NaN, by name.
    """

    def __init__(
        self, expected: SpilledOutputs, error: Callable[[list[Tensor], list[Tensor]], float]
    ) -> None:
        self.expected, self.error = expected, error
        self.errors: dict[str, list[float]] = {}
        self.undefined: dict[str, str] = {}

    def __call__(self, name: str, values: list[Tensor]) -> None:
        """Compare the output of one call."""
        errors = self.errors.setdefault(name, [])
        reference = self.expected.read(name, len(errors))
        if reference is None:
            errors.append(float("inf"))
            return
        error = self.error([value.cpu() for value in values], reference)
        errors.append(error)
        if not math.isfinite(error) and (where := undefined_entries(reference)) is not None:
            self.undefined.setdefault(name, where)

    def in_order(self) -> Iterator[tuple[str, list[float]]]:
        """Errors of all calls, in the order in which the layers of the other network first ran.

        Layers that only this network ran come last; the error of a call that it did not make is
        inf.
        """
        calls = self.expected.layers
        for name in [*calls, *(name for name in self.errors if name not in calls)]:
            found = self.errors.get(name, [])
            yield name, found + [float("inf")] * (calls.get(name, 0) - len(found))
