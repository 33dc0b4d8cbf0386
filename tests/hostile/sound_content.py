"""The sound weights that every hostile file carries: a convolution and one switchable layer.

Whatever else a file contains, a reader may only refuse it or return exactly these.
"""

from __future__ import annotations

import struct
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from pickle_assembly import mapping, number, tensor, text

_CODES = {"FloatStorage": "f", "LongStorage": "q"}


@dataclass(frozen=True)
class Stored:
    """One tensor.

    Attributes:
        key: Key in the state dict.
        shape: Shape of the tensor.
        values: Its elements.
        storage: Name of torch's storage class.
    """

    key: str
    shape: tuple[int, ...]
    values: tuple[float, ...]
    storage: str = "FloatStorage"

    @property
    def data(self) -> bytes:
        """Its bytes."""
        return struct.pack(f"<{len(self.values)}{_CODES[self.storage]}", *self.values)


STATE = (
    Stored("c.weight", (4, 3, 1, 1), tuple(0.25 * i - 1 for i in range(12))),
    Stored("n.weight", (4,), (0.5, 1.0, 1.5, -2.0)),
    Stored("n.bias", (4,), (0.125, -0.5, 0.0, 1.0)),
    Stored("n.mean_weight", (3,), (1.0, 0.0, 0.0)),
    Stored("n.var_weight", (3,), (0.0, 0.0, 1.0)),
    Stored("n.running_mean", (4,), (0.5, 0.25, -0.25, 0.0)),
    Stored("n.running_var", (4,), (1.0, 0.5, 2.0, 0.75)),
    Stored("n.num_batches_tracked", (), (100,), "LongStorage"),
    Stored("n.mean_fixed", (1,), (1,), "LongStorage"),
    Stored("n.var_fixed", (1,), (1,), "LongStorage"),
    Stored("n.radius", (1,), (1.0,)),
    Stored("n._extra_state", (4,), (0, 1, 1, 1), "LongStorage"),
)
STORAGES = {str(index): stored.data for index, stored in enumerate(STATE)}
BYTES = {stored.key: stored.data for stored in STATE}


def tensors(view: bytes = b"", location: str = "cpu") -> dict[str, bytes]:
    """Opcodes that make each tensor, by its key."""
    return {
        stored.key: tensor(
            str(index),
            len(stored.values),
            stored.shape,
            storage=stored.storage,
            view=view,
            location=location,
        )
        for index, stored in enumerate(STATE)
    }


def state_dict(
    changes: Mapping[str, bytes] | None = None,
    *,
    first: bytes = b"",
    extra: Iterable[tuple[bytes, bytes]] = (),
    view: bytes = b"",
) -> bytes:
    """Opcodes that make the state dict.

    Args:
        changes: Other opcodes for some keys.
        first: Opcodes that run before, and must leave nothing behind.
        extra: Further pairs.
        view: Further items of persistent ids.
    """
    made = {**tensors(view), **(changes or {})}
    return first + mapping([*((text(k), v) for k, v in made.items()), *extra])


def checkpoint(
    changes: Mapping[str, bytes] | None = None,
    *,
    beside: Iterable[tuple[bytes, bytes]] = (),
    view: bytes = b"",
) -> bytes:
    """Opcodes that make a training checkpoint with ``state_dict``, ``epoch`` and other pairs."""
    pairs = [(text("epoch"), number(7)), (text("state_dict"), state_dict(changes, view=view))]
    return mapping([*pairs, *beside])
