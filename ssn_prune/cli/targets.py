"""The files that a command writes."""

from __future__ import annotations

import json
import os
import shlex
from pathlib import Path
from typing import TYPE_CHECKING

from ssn_prune.console import Output
from ssn_prune.errors import ArgumentError, OutputError

if TYPE_CHECKING:
    from ssn_prune.report import ConversionReport


def default_target(ckpt: Path, name: str | None = None) -> Path:
    """The file beside a checkpoint; a path without a name is refused when it is read.

    Args:
        ckpt: The checkpoint.
        name: Name of the format, which is its suffix; ONNX by default.
    """
    suffix = f".{name or 'onnx'}"
    return ckpt.with_suffix(suffix) if ckpt.name else Path(f"model{suffix}")


def file_path(option: str, text: str) -> Path:
    """The path of a file to write, from what the user typed.

    Args:
        option: The option, for messages.
        text: Its value.

    Raises:
        OutputError: It means standard output or a folder.
    """
    if text == "-":
        cure = "--json prints the report" if option == "--report" else f"{option} model.onnx"
        raise OutputError(
            f"{option} cannot be standard output",
            expected="the path of a file, which appears when it is complete",
            found="-, which is standard output by convention",
            hint=f"{cure}; a file of that name is {option} ./-",
        )
    if text.endswith(("/", os.sep)) or not text:
        raise OutputError(
            f"{option} is a folder",
            expected="the path of a file",
            found=repr(text),
            hint=f"name a file in it: {option} {text}model.onnx",
        )
    return Path(text)


def require_distinct(
    ckpt: Path, target: Path, report: Path | None, weights: Path | None = None
) -> None:
    """Keep one file from overwriting another of the same command.

    Raises:
        OutputError: Two of the paths are the same file.
    """
    from ssn_prune.files import resolved

    paths = {
        "the checkpoint": ckpt,
        "--output": target,
        "--report": report,
        "--save-weights": weights,
    }
    seen: dict[Path, str] = {}
    for label, path in paths.items():
        if path is None:
            continue
        other = seen.setdefault(resolved(path), label)
        if other != label:
            raise OutputError(
                f"{label} would replace {other}",
                expected="different files",
                found=str(path),
                hint=f"choose another {label}",
            )


def require_in_order(ckpt: Path, exported: Path) -> None:
    """Refuse an exported file in the place of a checkpoint.

    Raises:
        ArgumentError: By their suffixes, the two are the wrong way round.
    """
    from ssn_prune.export_formats import EXPORT_FORMATS

    suffixes = [entry.suffix for entry in EXPORT_FORMATS]
    names = (str(exported), str(ckpt))
    if ckpt.suffix.lower() in suffixes and exported.suffix.lower() not in suffixes:
        raise ArgumentError(
            "the checkpoint and the exported file are the wrong way round",
            expected="the checkpoint first, then the exported file",
            found=f"{ckpt}, then {exported}",
            hint=f"with the same options: {shlex.join(['ssn-prune', 'verify', *names])}",
        )


def make_folder(folder: Path) -> None:
    """Make a folder and those above it.

    Raises:
        OutputError: It cannot be made, or standard output is meant.
    """
    if str(folder) == "-":
        raise OutputError(
            "--output cannot be standard output",
            expected="a folder for several files",
            found="-, which is standard output by convention",
            hint="name a folder: --output ssn_prune_demo",
        )
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise OutputError(
            f"the folder {folder} cannot be made",
            expected="a folder to write to",
            found=error.strerror or str(error),
            hint="choose another --output",
        ) from error


def write_report(
    out: Output, report: ConversionReport, path: Path | None, *, written: Path | None = None
) -> None:
    """Print the report as JSON if asked for, and write it to ``path`` if given.

    Raises:
        OutputError: It cannot be written. A model that was ``written`` before is named, too.
    """
    from ssn_prune.files import replacing, resolved, write_errors
    from ssn_prune.json_values import to_json

    document = to_json(report)
    if path is not None:
        text = json.dumps(document, indent=2, allow_nan=False) + "\n"
        try:
            with write_errors(path), replacing(resolved(path)) as temporary:
                temporary.write_text(text)
        except OutputError as error:
            raise OutputError(
                error.problem if written is None else f"{written} was written, but not {path}",
                expected=error.expected,
                found=error.found,
                hint=error.hint,
            ) from error
    if out.as_json:
        out.json(document)
