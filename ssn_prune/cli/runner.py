"""From errors to messages, JSON and exit codes."""

from __future__ import annotations

import contextlib
import os
import traceback
from collections.abc import Iterator
from typing import Any

import typer

from ssn_prune.cli.exit_codes import BROKEN_PIPE, FAILURE, INTERRUPTED, exit_code
from ssn_prune.cli.flags import with_flags
from ssn_prune.console import Output, unconverged_table
from ssn_prune.errors import (
    ArchitectureError,
    CaptureError,
    ExportError,
    KeyMismatchError,
    OutputError,
    SsnPruneError,
    UnconvergedGatesError,
    first_line,
)

_SHOW_CAUSE = "--debug shows the whole traceback"


@contextlib.contextmanager
def exit_on_error(out: Output, debug: bool) -> Iterator[None]:
    """Turn errors into messages on stderr and exit codes; with ``debug`` also show tracebacks.

    In JSON mode, other code cannot write to stdout meanwhile.
    """
    try:
        with out.own_stdout(), _messages(out, debug):
            yield
    except OutputError as error:  # of the document, which is printed last
        code = exit_code(error)
        if isinstance(error.__cause__, BrokenPipeError):
            code = BROKEN_PIPE
        else:
            out.error(error.problem, error.details())
        raise typer.Exit(code) from None


@contextlib.contextmanager
def _messages(out: Output, debug: bool) -> Iterator[None]:
    try:
        _require_current_folder()
        with _stays_running():
            yield
    except SsnPruneError as error:
        if isinstance(error.__cause__, BrokenPipeError):  # such as `ssn-prune ... | head`
            raise typer.Exit(BROKEN_PIPE) from None
        if debug:
            out.err.print(traceback.format_exc(), markup=False)
        if isinstance(error, UnconvergedGatesError):
            _show_unconverged(out, error)
        code, fields = exit_code(error), _error_fields(error, debug)
        if out.as_json:
            out.json({"error": fields, "exit_code": code})
        labels = {"expected": "expected", "found": "found", "try": "hint"}
        details = {label: fields[key] for label, key in labels.items() if fields[key] is not None}
        out.error(fields["problem"], details)
        raise typer.Exit(code) from None
    except KeyboardInterrupt:
        out.error("interrupted; no file is half written", {})
        raise typer.Exit(INTERRUPTED) from None
    except (typer.Exit, typer.Abort):
        raise
    # The last line of defence: a defect of ours must not end in a traceback either.
    except Exception as error:  # noqa: BLE001
        if debug:
            out.err.print(traceback.format_exc(), markup=False)
        text = first_line(error)
        hint = "run again with --debug and report the traceback"
        if out.as_json:
            fields = {"code": "unexpected", "type": type(error).__name__, "problem": text}
            fields |= {"expected": None, "found": None, "hint": hint}
            out.json({"error": fields, "exit_code": FAILURE})
        out.error(f"unexpected {type(error).__name__}: {text}", {"try": hint})
        raise typer.Exit(FAILURE) from None


def _require_current_folder() -> None:
    """Refuse a missing current folder, where torch's libraries would abort the process.

    Raises:
        OutputError: The current folder was removed.
    """
    try:
        os.getcwd()
    except FileNotFoundError as error:
        raise OutputError(
            "the current folder does not exist any more",
            expected="an existing folder",
            found=error.strerror,
            hint="change to another folder: cd ~",
        ) from error


@contextlib.contextmanager
def _stays_running() -> Iterator[None]:
    """Turn SystemExit and the like, raised by the network's own code, into an error."""
    try:
        yield
    except (Exception, KeyboardInterrupt):
        raise
    except BaseException as error:
        raise ArchitectureError(
            "the network's own code ends the program when it runs",
            expected="code that leaves the program running",
            found=f"{type(error).__name__}: {first_line(error)}",
            hint="take sys.exit and the like out of what the network calls",
        ) from error


def _show_unconverged(out: Output, error: UnconvergedGatesError) -> None:
    from ssn_prune.pruning.results import selection_layers
    from ssn_prune.selection import Selection

    if out.shows_text:
        out.err.print(unconverged_table(selection_layers(Selection(error.layers)), out.width))


def _error_fields(error: SsnPruneError, debug: bool) -> dict[str, Any]:
    hint = error.hint
    if isinstance(error, CaptureError | ExportError) and error.__cause__ and not debug:
        hint = f"{hint}; {_SHOW_CAUSE}" if hint else _SHOW_CAUSE
    fields: dict[str, Any] = {"code": error.code, "type": type(error).__name__}
    texts = {"problem": error.problem, "expected": error.expected, "found": error.found}
    for name, text in {**texts, "hint": hint}.items():
        fields[name] = None if text is None else with_flags(text)
    if isinstance(error, KeyMismatchError):
        for name in ("missing", "unexpected", "misshaped"):
            fields[name] = list(getattr(error, name))
    if isinstance(error, UnconvergedGatesError):
        from ssn_prune.json_values import to_json
        from ssn_prune.pruning.results import selection_layers
        from ssn_prune.selection import Selection

        fields["layers"] = to_json(selection_layers(Selection(error.layers)))
    return fields
