"""From a file to its weights and where they came from, for questions that need no network."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ssn_prune.checkpoint.prefixes import Stripped, strip_prefix
from ssn_prune.checkpoint.reader import CheckpointFile, open_checkpoint
from ssn_prune.checkpoint.statistics_check import require_sound_statistics
from ssn_prune.checkpoint.stored import StoredTensor
from ssn_prune.checkpoint.weights import Weights, extract_weights
from ssn_prune.text import printable


@dataclass(frozen=True)
class Source:
    """Where a network came from.

    Attributes:
        file_name: Name of the checkpoint without folders.
        sha256: Its hash; None if it was not asked for.
        format: ``"zip"``, ``"legacy"`` or ``"safetensors"``.
        entry: The entry of the file that held the weights; None for a bare state dict.
        other_entries: Other entries that hold weights.
        prefix: The key prefix that was removed.
        ignored_keys: Number of keys outside an explicit prefix.
        arch: Name of the architecture; None if it is not known.
        arch_args: Arguments with which it was built.
        facts: Small metadata of the checkpoint.
        has_checksums: Whether a changed byte of a tensor would have been found.
    """

    file_name: str
    sha256: str | None
    format: str
    entry: str | None
    other_entries: tuple[str, ...]
    prefix: str
    ignored_keys: int
    arch: str | None
    arch_args: dict[str, Any]
    facts: dict[str, str | int | float]
    has_checksums: bool = True


@dataclass(frozen=True)
class StoredWeights:
    """The weights of an open file.

    Attributes:
        tensors: Tensors by key, without their wrapper's prefix; their numbers are read when asked
            for.
        source: Where they came from.
    """

    tensors: dict[str, StoredTensor]
    source: Source


@contextmanager
def open_weights(
    path: Path | str,
    *,
    weights: str | None = None,
    prefix: str | None = None,
    with_hash: bool = False,
) -> Iterator[StoredWeights]:
    """Read only descriptions of the weights; their numbers can be read until the file is closed.

    Args:
        path: The checkpoint.
        weights: Entry of the file to use, such as ``"state_dict_ema"``.
        prefix: Key prefix to remove; found automatically if None.
        with_hash: Whether to read the whole file once more for its hash.

    Raises:
        CheckpointError: The file cannot be used; see its subclasses.
    """
    with open_checkpoint(Path(path)) as file:
        found = extract_weights(file, weights)
        require_sound_statistics(found.tensors)
        stripped = strip_prefix(found.tensors, None, prefix)
        digest = file.file.sha256() if with_hash else None
        yield StoredWeights(stripped.tensors, source_of(file, found, stripped, digest, None, {}))


def source_of(
    file: CheckpointFile,
    found: Weights,
    stripped: Stripped[Any],
    sha256: str | None,
    arch: str | None,
    arguments: dict[str, Any],
) -> Source:
    """Put together where weights came from."""
    return Source(
        file_name=printable(file.path.name),
        sha256=sha256,
        format=file.format,
        entry=found.entry,
        other_entries=found.others,
        prefix=stripped.prefix,
        ignored_keys=len(stripped.ignored),
        arch=arch or found.arch,
        arch_args=arguments,
        facts=found.facts,
        has_checksums=file.has_checksums,
    )
