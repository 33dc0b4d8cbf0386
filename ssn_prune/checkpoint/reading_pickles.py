"""Run the interpreter of pickles, and report its errors in terms of checkpoints."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

from ssn_prune.checkpoint.input_file import EXPECTED, SAVE_WEIGHTS, damaged
from ssn_prune.checkpoint.stored import Storage
from ssn_prune.checkpoint.unpickling import (
    FindStorage,
    NestedFileError,
    PickleError,
    TooLargeError,
    UnsafeGlobalError,
    WholeModuleError,
    unpickle,
)
from ssn_prune.errors import CheckpointError, UnsafeCheckpointError

_MAX_PICKLE = 64 << 20  # bytes; the state dict and optimizer of a thousand layers take half a MB
_BUFFER = 1 << 16


class _Stream(io.RawIOBase):
    """The bytes of a storage, read when they are needed."""

    def __init__(self, storage: Storage) -> None:
        self._storage, self._place = storage, 0
        self._end = min(storage.size, _MAX_PICKLE)

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        stop = min(self._place + len(buffer), self._end)
        data = self._storage.read(self._place, stop)
        buffer[: len(data)] = data
        self._place = stop
        return len(data)


def read_pickle(path: Path, pickled: Storage, find_storage: FindStorage) -> tuple[object, int]:
    """Read one pickle.

    Args:
        path: The file, for messages.
        pickled: A storage that starts with the pickle.
        find_storage: From a persistent id to a storage and the name of its dtype.

    Returns:
        The object, and the length of the pickle in bytes.

    Raises:
        CheckpointError: The pickle is damaged or larger than any checkpoint's.
        UnsafeCheckpointError: It asks for a global that could execute code.
    """
    try:
        found = unpickle(io.BufferedReader(_Stream(pickled), _BUFFER), find_storage)
    except UnsafeGlobalError as error:
        raise UnsafeCheckpointError(str(path), error.name) from error
    except WholeModuleError as error:
        raise whole_module(path, error.name) from error
    except NestedFileError as error:
        raise plain_pickle(path) from error
    except TooLargeError as error:
        raise CheckpointError(
            f"{path} holds more than weights and small metadata",
            expected="a pickle within the bounds of any network's state dict",
            found=str(error),
            hint=f"save the weights alone: {SAVE_WEIGHTS}",
        ) from error
    except PickleError as error:
        raise damaged(path, str(error)) from error
    return found.value, found.end


def whole_module(path: Path, name: str) -> UnsafeCheckpointError:
    """The error for a network that was saved as an object."""
    return UnsafeCheckpointError(str(path), name, whole_module=True)


def plain_pickle(path: Path) -> CheckpointError:
    """The error for what Python's own pickle module wrote."""
    return CheckpointError(
        f"{path} holds what pickle.dump writes, not torch.save",
        expected=EXPECTED,
        found="a plain pickle",
        hint="load it with pickle in an environment that you trust and save the weights with "
        f"{SAVE_WEIGHTS}",
    )
