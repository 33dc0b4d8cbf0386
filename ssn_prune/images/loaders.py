"""``package.module:loader``: inputs, and labels, from the user's own code."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from ssn_prune.architectures.current_folder import current_folder_importable
from ssn_prune.architectures.user_code import Sought, imported, stays_running
from ssn_prune.errors import DataError, SsnPruneError, first_line
from ssn_prune.images.image_arrays import MAX_BYTES

_NAME = re.compile(r"[A-Za-z_][\w.]*:[A-Za-z_]\w*")
_FORM = "batches of inputs, or of (inputs, labels), as tensors or arrays with a batch axis"


def is_loader(source: str) -> bool:
    """Whether a source has the form ``package.module:loader``."""
    return _NAME.fullmatch(source) is not None


def read_loader(name: str, inputs: int) -> tuple[list[Tensor], Tensor | None]:
    """Collect the batches of a loader.

    Args:
        name: The name of a function without arguments that returns batches, or of an iterable, such
            as a DataLoader. Its code is run, so the name must come from the user.
        inputs: Number of inputs of the network.

    Raises:
        DataError: It cannot be imported, raises an error, or does not give batches.
        ArgumentError: It ends the program.
    """
    module, _, attribute = name.partition(":")
    found = imported(name, module, attribute, _LOADER)
    parts: list[list[Tensor]] = []
    size = 0
    with current_folder_importable(), stays_running(name, "gives images"):
        try:
            for batch in _batches(name, found):
                tensors = _tensors(name, batch, inputs)
                if parts and len(tensors) != len(parts[0]):
                    raise _wrong(name, "batches with labels and batches without")
                size += sum(tensor.nbytes for tensor in tensors)
                if size > MAX_BYTES:
                    raise _wrong(name, f"more than {MAX_BYTES >> 30} GiB; does it ever end?")
                parts.append(tensors)
        except SsnPruneError:
            raise
        # The loader is the user's code and may raise anything.
        except Exception as error:
            raise DataError(
                f"the loader {name!r} fails",
                expected=_FORM,
                found=f"{type(error).__name__}: {first_line(error)}",
                hint=f"fix it: `for batch in {attribute}()` raises this by itself too",
            ) from error
    if not parts:
        raise _wrong(name, "no batch")
    joined = [_joined(name, list(tensors)) for tensors in zip(*parts, strict=True)]
    return joined[:inputs], joined[inputs] if len(joined) > inputs else None


def _batches(name: str, found: Any) -> Iterator[Any]:
    batches = found() if callable(found) and not isinstance(found, Iterable) else found
    if isinstance(batches, Tensor | np.ndarray | str) or not isinstance(batches, Iterable):
        raise _wrong(name, type(batches).__name__)
    return iter(batches)


def _tensors(name: str, batch: Any, inputs: int) -> list[Tensor]:
    """Inputs, then labels if there are any."""
    parts = list(batch) if isinstance(batch, list | tuple) else [batch]
    if len(parts) == 2 and isinstance(parts[0], list | tuple):
        parts = [*parts[0], parts[1]]
    if len(parts) not in (inputs, inputs + 1):
        raise _wrong(name, f"{len(parts)} parts in a batch, for {inputs} inputs")
    tensors = [torch.as_tensor(part).detach().cpu() for part in map(_array, parts)]
    lengths = {len(tensor) if tensor.dim() else 0 for tensor in tensors}
    if len(lengths) > 1 or 0 in lengths:
        raise _wrong(name, f"parts of a batch with the lengths {sorted(lengths)}")
    return tensors


def _array(part: Any) -> Any:
    if isinstance(part, Tensor | np.ndarray):
        return part
    if isinstance(part, Sequence) and not isinstance(part, str):
        return torch.as_tensor(part)  # labels as a list of numbers
    raise TypeError(f"{type(part).__name__} is neither a tensor nor an array")


def _joined(name: str, tensors: list[Tensor]) -> Tensor:
    if len({(tensor.shape[1:], tensor.dtype) for tensor in tensors}) > 1:
        raise _wrong(name, "batches of different shapes or types")
    return torch.cat(tensors)


def _wrong(name: str, found: str) -> DataError:
    return DataError(
        f"the loader {name!r} does not give batches for the network",
        expected=_FORM,
        found=found,
        hint="yield (inputs, labels) from a function without arguments",
    )


def _offered(value: Any) -> bool:
    return callable(value) or (isinstance(value, Iterable) and not isinstance(value, str))


_LOADER = Sought("loader", "`data=", DataError, _offered)
