"""The state of a pickle while it is read: a stack with marks, a memo, and a budget."""

from __future__ import annotations

from collections.abc import Callable
from sys import getsizeof

from ssn_prune.checkpoint.stored import Storage
from ssn_prune.checkpoint.unpickling.errors import PickleError, TooLargeError
from ssn_prune.checkpoint.unpickling.source import Source

FindStorage = Callable[[object], tuple[Storage, str | None]]
LEAST_COST = 64  # what any instruction pays: it takes about a microsecond
MEMO_COST = 40  # besides the above; bytes that an entry of a dict takes
SLOT_COST = 8  # bytes that an item takes in a list or tuple


class Machine:
    """The state on which instructions work.

    Args:
        source: Where they read their arguments.
        find_storage: Returns the storage behind a persistent id.
        memory: Bytes that may be used for what is built.

    Attributes:
        stack: Values above the last mark.
        below: Values below each mark, the outermost first.
        left: Bytes that may still be used. Every instruction pays for the memory that it takes, and
            at least a little, which bounds the number of instructions and with it the time.
        unknown: Unknown names that the file asked for and whose use has not proved harmless yet.
    """

    def __init__(self, source: Source, find_storage: FindStorage, memory: int) -> None:
        self.source = source
        self.find_storage = find_storage
        self.stack: list[object] = []
        self.below: list[list[object]] = []
        self.left = memory
        self.unknown: dict[str, None] = {}
        self._memo: dict[int, object] = {}

    def charge(self, size: int) -> None:
        """Pay for ``size`` bytes."""
        self.left -= size
        if self.left < 0:
            raise TooLargeError("what it holds besides its tensors does not fit into the memory")

    def push(self, value: object) -> None:
        """Put a value on top."""
        self.stack.append(value)

    def push_sized(self, value: str | bytes) -> None:
        """Put a text or bytes on top, and pay for its length."""
        self.charge(getsizeof(value))
        self.stack.append(value)

    def pop(self) -> object:
        """Take the topmost value."""
        if not self.stack:
            self.require(1)
        return self.stack.pop()

    def top(self) -> object:
        """The topmost value."""
        if not self.stack:
            self.require(1)
        return self.stack[-1]

    def require(self, count: int) -> None:
        """Demand at least ``count`` values above the last mark."""
        if len(self.stack) < count:
            raise PickleError("an instruction finds too few values on the stack")

    def mark(self) -> None:
        """Start a new group of values."""
        self.below.append(self.stack)
        self.stack = []

    def pop_to_mark(self) -> list[object]:
        """Take all values above the last mark, and the mark."""
        if not self.below:
            raise PickleError("an instruction finds no mark on the stack")
        items, self.stack = self.stack, self.below.pop()
        return items

    def remember(self, index: int) -> None:
        """Store the topmost value under a number."""
        if not 0 <= index < 1 << 32:  # what fits into LONG_BINPUT
            raise PickleError("a number of the memo that is out of range")
        self._memo[index] = self.top()

    def memoize(self) -> None:
        """Store the topmost value under the next number."""
        self.remember(len(self._memo))

    def recall(self, index: int) -> None:
        """Put a stored value on top."""
        if index not in self._memo:
            raise PickleError("nothing is stored under this number of the memo")
        self.push(self._memo[index])
