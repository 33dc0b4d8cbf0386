"""The files that a command writes."""

from __future__ import annotations

import os
import shlex
from collections.abc import Mapping, Sequence
from pathlib import Path

from ssn_prune.errors import ArgumentError, OutputError


def checkpoint_path(text: str) -> Path:
    """The path of a checkpoint or folder that the user typed.

    Raises:
        ArgumentError: It is empty, such as an unset shell variable, and would mean the current
            folder.
    """
    if not text:
        raise ArgumentError(
            "the path of a checkpoint is empty",
            expected="a checkpoint, or a folder with checkpoints",
            found="''",
            hint="name a file; the current folder is ./",
        )
    return Path(text)


def default_target(ckpt: Path, name: str | None = None) -> Path:
    """The file next to a checkpoint. Reading the checkpoint refuses a path without a name.

    Args:
        ckpt: The checkpoint.
        name: Name of the format, which is also its suffix; ONNX by default.
    """
    suffix = f".{name or 'onnx'}"
    return ckpt.with_suffix(suffix) if ckpt.name else Path(f"model{suffix}")


def file_path(option: str, text: str) -> Path:
    """The path of a file to write, as the user typed it.

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


def require_distinct(inputs: Mapping[str, Path], outputs: Sequence[tuple[str, Path]]) -> None:
    """Keep one file from overwriting another of the same command.

    Args:
        inputs: Files to read, by their names in messages.
        outputs: Files to write, each with its option.

    Raises:
        OutputError: An output is the same file as another output or an input.
    """
    from ssn_prune.files import resolved

    seen = {resolved(path): label for label, path in inputs.items()}
    for label, path in outputs:
        other = seen.setdefault(found := resolved(path), "")
        seen[found] = label
        if other:
            raise OutputError(
                f"{label} would replace {other}",
                expected="different files",
                found=str(path),
                hint=f"choose another {label}",
            )


def require_in_order(ckpt: Path, exported: Path) -> None:
    """Refuse arguments in the wrong order.

    Raises:
        ArgumentError: The suffixes say that the exported file comes first.
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
    """Create a folder and its parents.

    Raises:
        OutputError: It cannot be created, or the name means standard output.
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
