"""What can be wrong with a pickle; the checkpoint reader turns these into its own errors."""

from __future__ import annotations

from ssn_prune.text import printable, shortened

_LONGEST_NAME = 120


class PickleError(ValueError):
    """The bytes are not a pickle, or contain something that no pickler writes.

    Attributes:
        problem: What is wrong, without the place.
        position: Byte at which the instruction starts, counted from the start of the pickle.
        instruction: Its name in :mod:`pickletools`; empty if it has none.
    """

    def __init__(self, problem: str) -> None:
        super().__init__(problem)
        self.problem = problem
        self.position: int | None = None
        self.instruction = ""

    def place(self, position: int, instruction: str) -> None:
        """Record where it happened."""
        self.position, self.instruction = position, instruction

    def __str__(self) -> str:
        if self.position is None:
            return self.problem
        name = f" ({self.instruction})" if self.instruction else ""
        return f"{self.problem}, at byte {self.position}{name}"


class TruncatedError(PickleError):
    """The bytes end in the middle of the pickle."""


class TooLargeError(PickleError):
    """The pickle is larger, longer or deeper than any that holds a network's weights."""


class UnsafeGlobalError(PickleError):
    """The pickle asks for a function or class that is neither a tensor's nor known metadata.

    Attributes:
        name: Its dotted name, printable and of a bounded length.
    """

    def __init__(self, name: str) -> None:
        self.name = printable(shortened(name, _LONGEST_NAME))
        super().__init__(f"it asks for {self.name!r}")


class WholeModuleError(PickleError):
    """The pickle holds a network as an object, not its state dict.

    Attributes:
        name: The class of the outermost module.
    """

    def __init__(self, name: str) -> None:
        self.name = printable(shortened(name, _LONGEST_NAME))
        super().__init__(f"it holds a whole module of the class {self.name!r}")


class NestedFileError(PickleError):
    """Each tensor is a file within the pickle: ``pickle.dump`` wrote it, not ``torch.save``."""

    def __init__(self) -> None:
        super().__init__("it was written by pickle.dump, which stores each tensor as its own file")
