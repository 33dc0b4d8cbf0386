"""The journal: every measured candidate as a line of JSON, so that a search can be resumed.

The first line says what the measurements depend on. The journal of another search is refused. An
incomplete line, left by a search that was killed, is dropped.
"""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ssn_prune.accuracy.results import Accuracy, PairedDifference
from ssn_prune.errors import OutputError, SearchError
from ssn_prune.files import bounded_text, require_writable, resolved, write_errors
from ssn_prune.json_values import to_json
from ssn_prune.normalizer import Normalizer, NormalizerPair
from ssn_prune.searching.evaluation import Harm
from ssn_prune.searching.joint import JointResult
from ssn_prune.searching.selections import Changes
from ssn_prune.text import printable

_LARGEST = 64 << 20


@dataclass
class Journal:
    """The measurements so far.

    Attributes:
        path: The file; None to write nothing.
        setting: What the measurements depend on.
        singles: Harms of single changes.
        joint: Results of candidates.
    """

    path: Path | None
    setting: Mapping[str, Any]
    singles: dict[Changes, Harm] = field(default_factory=dict)
    joint: dict[Changes, JointResult] = field(default_factory=dict)

    def load(self) -> Journal:
        """Read the measurements of an earlier search with the same setting.

        Raises:
            SearchError: The file is not a journal, or is the journal of another search.
        """
        if self.path is None or not self.path.exists():
            return self
        lines = _lines(self.path)
        if lines and _object(lines[0]) != {"search": to_json(dict(self.setting))}:
            raise _other(self.path, "another search")
        for line in lines[1:]:
            entry = _object(line)  # None for an incomplete line
            if entry is not None:
                self._take(entry)
        return self

    def add_singles(self, found: Mapping[Changes, Harm]) -> None:
        """Add harms of single changes."""
        self.singles |= found
        self._append([{"single": _written(changes), **to_json(h)} for changes, h in found.items()])

    def add_joint(self, found: Mapping[Changes, JointResult]) -> None:
        """Add results of candidates."""
        self.joint |= found
        self._append([{"joint": _written(changes), **to_json(r)} for changes, r in found.items()])

    def finish(self) -> None:
        """Remove the file, once the search has finished."""
        if self.path is not None:
            self.path.unlink(missing_ok=True)

    def _take(self, entry: dict[str, Any]) -> None:
        with suppress(KeyError, TypeError, ValueError):  # damaged entries are measured again
            changes = _read(entry.get("single", entry.get("joint")))
            harm = Harm(_number(entry, "mean" if "single" in entry else "harm"), entry["error"])
            if "single" in entry:
                self.singles[changes] = harm
            else:
                accuracy = Accuracy(**entry["accuracy"])
                drop = _number(entry, "drop")
                found = entry["difference"]
                difference = None if found is None else PairedDifference(**found)
                self.joint[changes] = JointResult(harm.mean, harm.error, drop, accuracy, difference)

    def _append(self, entries: list[dict[str, Any]]) -> None:
        if self.path is None:
            return
        new = not self.path.exists() or not self.path.stat().st_size
        with write_errors(self.path), self.path.open("a", encoding="utf-8") as file:
            if new:
                entries = [{"search": to_json(dict(self.setting))}, *entries]
            # Start with a newline, in case the last line was cut off.
            text = "\n".join(json.dumps(entry) for entry in entries)
            file.write(text if new else f"\n{text}")


def require_journal(journal: Path | None) -> None:
    """Find out before the work whether a journal can be written, or is another file.

    Args:
        journal: The file, or a folder for it.

    Raises:
        OutputError: It cannot be written.
        SearchError: It is another file.
    """
    if journal is None:
        return
    require_writable(journal / "a.jsonl" if journal.is_dir() else resolved(journal), force=True)
    lines = _lines(journal) if journal.is_file() else []
    if lines and "search" not in (_object(lines[0]) or {}):
        raise _other(journal, "another file")


def _other(path: Path, found: str) -> SearchError:
    return SearchError(
        f"{printable(path.name)} is not the journal of this search",
        expected="a journal with the same checkpoint, images and options",
        found=found,
        hint="pass another `journal=`, or remove the file to start again",
    )


def file_of(journal: Path | None, setting: Mapping[str, Any]) -> Path | None:
    """The path of a journal; in a folder, the file of the search with this setting."""
    if journal is None or not journal.is_dir():
        return journal
    digest = hashlib.sha256(json.dumps(to_json(dict(setting)), sort_keys=True).encode())
    return journal / f"{digest.hexdigest()[:32]}.jsonl"


def _lines(path: Path) -> list[str]:
    try:
        return bounded_text(path, _LARGEST).splitlines()
    except (OSError, ValueError) as error:
        raise OutputError(
            f"{printable(path.name)} cannot be read",
            expected="the journal of an earlier search, or no file",
            found=str(error),
            hint="pass another `journal=`",
        ) from error


def _object(line: str) -> dict[str, Any] | None:
    try:
        found = json.loads(line)
    except (ValueError, RecursionError):
        return None
    return found if isinstance(found, dict) else None


def _number(entry: Mapping[str, Any], name: str) -> float:
    value = float(entry[name])
    if not math.isfinite(value):
        raise ValueError(name)
    return value


def _written(changes: Changes) -> list[list[str]]:
    return [[layer, pair.mean.name, pair.var.name] for layer, pair in changes]


def _read(written: Any) -> Changes:
    return tuple(
        (str(layer), NormalizerPair(Normalizer[mean], Normalizer[var]))
        for layer, mean, var in written
    )
