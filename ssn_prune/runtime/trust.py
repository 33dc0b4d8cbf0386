"""Which torch programs may be opened: reading one executes what is in it.

``torch.export.load`` unpickles what it cannot read otherwise, and no reader of such files is free
of that. So a file is opened only if the user says so, or if it is, byte by byte, the one that the
report of a conversion names.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ssn_prune.errors import ArgumentError, InferenceRuntimeError, UntrustedFileError
from ssn_prune.text import printable

_LARGEST_REPORT = 64 << 20  # bytes; a layer takes about 2,000
_FIELD = "exported"
"""Field of the report for a file in a format other than ONNX."""


@dataclass(frozen=True)
class Trust:
    """Which torch programs the user vouches for.

    Attributes:
        any_program: Whether every torch program may be opened.
        sha256: Otherwise, the hashes of those that may be opened.
    """

    any_program: bool = False
    sha256: tuple[str, ...] = ()

    def allowed(self, name: str) -> tuple[str, ...] | None:
        """The hashes that a program may have; None if it may have any.

        Args:
            name: Name of the file, for errors.

        Raises:
            UntrustedFileError: No program may be opened.
        """
        if self.any_program:
            return None
        if self.sha256:
            return self.sha256
        raise UntrustedFileError(
            f"{printable(name)} was not opened: reading a torch program executes what is in it",
            expected="a program that you vouch for",
            found="neither a report of its conversion nor your consent",
            hint="pass `from_report='run.json'`, the report of the conversion that wrote it, or "
            "`trust_pt2=True` if you know where the file comes from",
        )


def trust_of(*, trust_pt2: bool, reports: Sequence[Path | str] = ()) -> Trust:
    """Make a ``Trust`` from what the user passes.

    Args:
        trust_pt2: Whether every torch program may be opened.
        reports: Reports of conversions, as ``convert`` writes them, which name their programs.

    Raises:
        ArgumentError: A report cannot be read, or names no torch program.
    """
    return Trust(trust_pt2, tuple(_reported_hash(Path(report)) for report in reports))


def trusted_content(path: Path, name: str, allowed: Sequence[str] | None) -> bytes:
    """Read a program for loading. The bytes that are returned are those that were hashed.

    Args:
        path: The file.
        name: Its name, for errors.
        allowed: Hashes that it may have; None for any.

    Raises:
        UntrustedFileError: Its hash is not allowed.
        InferenceRuntimeError: The file cannot be read.
    """
    try:
        if path.exists() and not path.is_file():  # a pipe would wait for its writer
            raise OSError(0, "a folder, pipe or device")
        with path.open("rb") as file:
            if allowed is not None:
                # Hash it before reading it whole: a refused file may be larger than the memory.
                _require_allowed(name, hashlib.file_digest(file, "sha256").hexdigest(), allowed)
                file.seek(0)
            content = file.read()
    except (OSError, ValueError) as error:  # ValueError: a NUL in the name
        raise InferenceRuntimeError(
            f"{printable(name)} cannot be read",
            expected="the file that the conversion wrote",
            found=getattr(error, "strerror", None) or str(error),
            hint="check the path and its permissions",
        ) from error
    if allowed is not None:  # the file may have changed since it was hashed
        _require_allowed(name, hashlib.sha256(content).hexdigest(), allowed)
    return content


def _require_allowed(name: str, found: str, allowed: Sequence[str]) -> None:
    if found not in allowed:
        raise UntrustedFileError(
            f"{printable(name)} is not the torch program of the report, so it was not opened",
            expected=f"the SHA-256 {', '.join(entry[:16] + '...' for entry in allowed)}",
            found=f"{found[:16]}...",
            hint="pass `from_report='run.json'`, the report of the conversion that wrote this "
            "file; or convert again",
        )


def _reported_hash(path: Path) -> str:
    found = _document(path)
    exported = found.get(_FIELD) if isinstance(found, dict) else None
    sha256 = exported.get("sha256") if isinstance(exported, dict) else None
    if isinstance(sha256, str) and re.fullmatch("[0-9a-f]{64}", sha256):
        return sha256
    raise _no_report(path, f"a document without `{_FIELD}.sha256`")


def _document(path: Path) -> Any:
    try:
        if path.exists() and not path.is_file():  # a pipe would wait for its writer
            raise OSError(0, "a folder, pipe or device")
        with path.open("rb") as file:
            text = file.read(_LARGEST_REPORT + 1)
    except (OSError, ValueError) as error:  # ValueError: a NUL in the name
        raise _no_report(path, getattr(error, "strerror", None) or str(error)) from error
    if len(text) > _LARGEST_REPORT:
        raise _no_report(path, f"more than {_LARGEST_REPORT} bytes")
    try:
        return json.loads(text)
    except (ValueError, RecursionError) as error:  # too deep
        raise _no_report(path, "a file that is no JSON") from error


def _no_report(path: Path, found: str) -> ArgumentError:
    return ArgumentError(
        f"{printable(str(path))} is no report of a conversion to a torch program",
        expected="the JSON that the conversion of a checkpoint to a .pt2 file reports",
        found=found,
        hint="leave `from_report=` out and pass `trust_pt2=True` if you know where the file comes "
        "from; or convert again, with a report",
    )
