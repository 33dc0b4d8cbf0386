"""What all commands share: parsing of option values, errors to exit codes, report files."""

from __future__ import annotations

import contextlib
import json
import traceback
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer

from ssn_prune.console import Output, unconverged_table
from ssn_prune.errors import (
    EXIT_FAILURE,
    ArgumentError,
    KeyMismatchError,
    OutputError,
    SsnPruneError,
    UnconvergedGatesError,
    first_line,
)

if TYPE_CHECKING:
    from ssn_prune.report import ConversionReport


@contextlib.contextmanager
def exit_on_error(out: Output, debug: bool) -> Iterator[None]:
    """Turn errors into messages on stderr and exit codes; with ``debug`` also show tracebacks."""
    try:
        yield
    except SsnPruneError as error:
        if debug:
            out.err.print(traceback.format_exc(), markup=False)
        if isinstance(error, UnconvergedGatesError):
            _show_unconverged(out, error)
        if out.as_json:
            out.json({"error": _error_fields(error), "exit_code": error.exit_code})
        out.error(error.problem, error.details())
        raise typer.Exit(error.exit_code) from None
    except KeyboardInterrupt:
        out.error("interrupted; nothing was written", {})
        raise typer.Exit(130) from None
    except (typer.Exit, typer.Abort):
        raise
    # The last line of defence: a defect of ours must not end in a traceback either.
    except Exception as error:  # noqa: BLE001
        if debug:
            out.err.print(traceback.format_exc(), markup=False)
        text = first_line(error)
        hint = "run again with --debug and report the traceback"
        if out.as_json:
            fields = {"type": type(error).__name__, "problem": text, "hint": hint}
            out.json({"error": fields, "exit_code": EXIT_FAILURE})
        out.error(f"unexpected {type(error).__name__}: {text}", {"try": hint})
        raise typer.Exit(EXIT_FAILURE) from None


def _show_unconverged(out: Output, error: UnconvergedGatesError) -> None:
    from ssn_prune.pruning.results import selection_layers
    from ssn_prune.selection import Selection

    if out.talks:
        out.err.print(unconverged_table(selection_layers(Selection(error.layers))))


def _error_fields(error: SsnPruneError) -> dict[str, Any]:
    fields: dict[str, Any] = {"type": type(error).__name__, "problem": error.problem}
    fields |= {"expected": error.expected, "found": error.found, "hint": error.hint}
    if isinstance(error, KeyMismatchError):
        for name in ("missing", "unexpected", "misshaped"):
            fields[name] = list(getattr(error, name))
    if isinstance(error, UnconvergedGatesError):
        from ssn_prune.json_values import to_json
        from ssn_prune.pruning.results import selection_layers
        from ssn_prune.selection import Selection

        fields["layers"] = to_json(selection_layers(Selection(error.layers)))
    return fields


def parse_arguments(text: str | None) -> dict[str, Any]:
    """Parse ``--arch-args``.

    Raises:
        ArgumentError: It is not a JSON object.
    """
    if text is None:
        return {}
    try:
        value = json.loads(text)
    except json.JSONDecodeError as error:
        raise ArgumentError(
            "--arch-args is not JSON",
            expected="a JSON object such as '{\"num_classes\": 10}'",
            found=f"{text!r} ({error.msg} at character {error.pos})",
            hint="put the object in single quotes for the shell",
        ) from error
    if not isinstance(value, dict):
        raise ArgumentError(
            "--arch-args is not a JSON object",
            expected="an object such as '{\"num_classes\": 10}'",
            found=repr(text),
            hint="name each argument",
        )
    return value


def parse_size(text: str | None) -> tuple[int, ...] | tuple[tuple[int, ...], ...] | None:
    """Parse ``--input-size``.

    ``224`` is square, ``240x320`` is HxW, ``1x28x28`` is CxHxW, ``3x16x112x112`` is CxDxHxW. A
    network with several inputs takes several with commas between them, each with its channels.

    Raises:
        ArgumentError: It is none of these.
    """
    if text is None:
        return None
    sizes = tuple(_parse_one_size(part) for part in text.lower().split(","))
    if len(sizes) > 1:
        return sizes
    return sizes[0] * 2 if len(sizes[0]) == 1 else sizes[0]


def _parse_one_size(text: str) -> tuple[int, ...]:
    parts = text.split("x")
    if not 1 <= len(parts) <= 4 or not all(map(_is_size, parts)):
        raise ArgumentError(
            "--input-size is not a size",
            expected="224, 240x320 (HxW), 1x28x28 (CxHxW) or 3x16x112x112 (CxDxHxW)",
            found=repr(text),
            hint="use positive whole numbers with x between them, and commas between inputs",
        )
    return tuple(int(part) for part in parts)


def _is_size(part: str) -> bool:
    return part.isascii() and part.isdecimal() and int(part) > 0


def default_target(ckpt: Path) -> Path:
    """The ONNX file beside a checkpoint; a path without a name is refused when it is read."""
    return ckpt.with_suffix(".onnx") if ckpt.name else Path("model.onnx")


def require_distinct(ckpt: Path, target: Path, report: Path | None) -> None:
    """Keep one file from overwriting another of the same command.

    Raises:
        OutputError: Two of the paths are the same file.
    """
    paths = {"the checkpoint": ckpt, "--output": target, "--report": report}
    seen: dict[Path, str] = {}
    for label, path in paths.items():
        if path is None:
            continue
        other = seen.setdefault(path.resolve(), label)
        if other != label:
            raise OutputError(
                f"{label} would replace {other}",
                expected="different files",
                found=str(path),
                hint=f"choose another {label}",
            )


def write_report(out: Output, report: ConversionReport, path: Path | None) -> None:
    """Print the report as JSON if asked for, and write it to ``path`` if given."""
    from ssn_prune.files import replacing, resolved
    from ssn_prune.json_values import to_json

    document = to_json(report)
    if path is not None:
        with replacing(resolved(path)) as temporary:
            temporary.write_text(json.dumps(document, indent=2, allow_nan=False) + "\n")
    if out.as_json:
        out.json(document)
