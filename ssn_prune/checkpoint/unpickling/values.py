"""What a pickle becomes: plain values, and stand-ins where a plain value would not do."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from ssn_prune.checkpoint.stored import Storage, StoredTensor


class Pairs:
    """A mapping, kept as its keys and values in the order of the file.

    Keys are never hashed: a crafted key, such as a deeply nested tuple, would take hours. A key
    that occurs twice is kept twice; the last one counts, as in a ``dict``.

    Attributes:
        keys: Keys, of any type.
        values: Their values.
    """

    __slots__ = ("keys", "values")

    def __init__(self, keys: Iterable[object] = (), values: Iterable[object] = ()) -> None:
        self.keys = list(keys)
        self.values = list(values)

    def __len__(self) -> int:
        """Number of pairs, repeated keys included."""
        return len(self.keys)

    def __repr__(self) -> str:
        return f"<mapping of {len(self)} pairs>"

    def items(self) -> Iterator[tuple[object, object]]:
        """All pairs, in the order of the file."""
        return zip(self.keys, self.values, strict=True)

    def text_items(self) -> dict[str, object]:
        """The pairs whose key is text, in the order of the file; a repeated key's last value."""
        return {key: value for key, value in self.items() if type(key) is str}

    def get(self, text: str) -> object:
        """The value of a text key; None if there is none."""
        for key, value in zip(reversed(self.keys), reversed(self.values), strict=True):
            if type(key) is str and key == text:
                return value
        return None


@dataclass(frozen=True, eq=False, slots=True)
class Inert:
    """Metadata that is left unread, such as an ``argparse.Namespace``.

    Attributes:
        name: Dotted name of its class.
    """

    name: str


@dataclass(frozen=True, eq=False, slots=True)
class Name(Inert):
    """A class, function or constant that the file names; it is never imported."""


@dataclass(frozen=True, eq=False, slots=True)
class StorageReference:
    """A storage, by itself or on its way into a tensor.

    Attributes:
        storage: Its bytes.
        dtype: Name of the dtype, such as ``"float32"``; None for an untyped storage.
    """

    storage: Storage
    dtype: str | None


@dataclass(frozen=True, eq=False, slots=True)
class Instance(Inert):
    """An object of an unknown class; only its state can show what it is."""


@dataclass(eq=False, slots=True)
class NumpyType:
    """A NumPy dtype; not frozen, because a pickle names an object before it completes it.

    Attributes:
        code: Kind and bytes per element, such as ``"f8"``.
        big_endian: Whether the most significant byte comes first.
    """

    code: str
    big_endian: bool = False


@dataclass(eq=False, slots=True)
class NumpyArray:
    """A NumPy array; not frozen, because a pickle names an object before it completes it.

    Attributes:
        tensor: Its numbers; None if their dtype is not one that networks have.
    """

    tensor: StoredTensor | None = None
