"""Write text and JSON to the terminal or a pipe."""

from __future__ import annotations

import contextlib
import json
import os
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, TextIO

from rich.console import Console
from rich.progress import BarColumn, Progress, SpinnerColumn, TextColumn, TimeElapsedColumn
from rich.table import Table

from ssn_prune.console.redirection import stdout_on_stderr
from ssn_prune.console.text import escape
from ssn_prune.errors import OutputError


class Output:
    """The output of a command.

    Args:
        as_json: Print one JSON document on stdout, and nothing else there.
        quiet: Print no tables, messages or progress; errors and JSON still appear.
    """

    def __init__(self, *, as_json: bool = False, quiet: bool = False) -> None:
        self.as_json = as_json
        self.quiet = quiet
        self._document: str | None = None
        self.out = _Console(width=_width(sys.stdout), highlight=False, emoji=False)
        # Keep the file object itself: while torch traces, sys.stderr is another one.
        # On a terminal, lines break between words; elsewhere they do not break.
        soft = not sys.stderr.isatty()
        self.err = _Console(
            file=sys.stderr, width=_width(sys.stderr), highlight=False, emoji=False, soft_wrap=soft
        )

    @property
    def shows_text(self) -> bool:
        """Whether to print tables and messages: not in JSON or quiet mode."""
        return not (self.as_json or self.quiet)

    @property
    def width(self) -> int:
        """Number of columns that tables may use."""
        return self.out.width

    @property
    def styled(self) -> bool:
        """Whether stdout shows styles such as colours."""
        return self.out.is_terminal

    def json(self, value: Any) -> None:
        """Print a JSON document on stdout, at the end of :meth:`own_stdout`."""
        self._document = json.dumps(value, indent=2, allow_nan=False) + "\n"

    @contextmanager
    def own_stdout(self) -> Iterator[None]:
        """In JSON mode, keep stdout free of all but the document, whatever other code prints."""
        if not self.as_json:
            yield
            return
        try:
            with stdout_on_stderr():
                yield
        finally:
            if self._document is not None:
                with _write_errors():
                    sys.stdout.write(self._document)
                    sys.stdout.flush()

    def message(self, text: str) -> None:
        """Print a line of text, unless in JSON or quiet mode; markup is rendered."""
        if self.shows_text:
            with _write_errors():
                self.out.print(text)

    def plain(self, text: str) -> None:
        """Print text unchanged, for programs."""
        with _write_errors():
            sys.stdout.write(text)
            sys.stdout.flush()

    def table(self, table: Table) -> None:
        """Print a table, unless in JSON or quiet mode."""
        if self.shows_text:
            with _write_errors():
                self.out.print(table)

    def error(self, title: str, details: dict[str, str]) -> None:
        """Print an error on stderr: the problem, then details such as expected, found and try."""
        lines = [f"[bold red]error:[/] {escape(title)}"]
        lines += [f"  [bold]{label}:[/] {escape(text)}" for label, text in details.items()]
        with contextlib.suppress(OSError):  # stderr is closed, and there is nowhere else to write
            self.err.print("\n".join(lines))

    @contextmanager
    def steps(self) -> Iterator[Callable[[str], None]]:
        """Show the current step of a long operation on stderr, if that is a terminal.

        rich may also call a file a terminal (``FORCE_COLOR``, as in a notebook), but there no line
        can be redrawn.
        """
        if not self.shows_text or not self.err.is_terminal or not self.err.file.isatty():
            yield lambda _step: None
            return
        with Progress(
            SpinnerColumn(),
            TextColumn("{task.description}"),
            TimeElapsedColumn(),
            console=self.err,
            transient=True,
        ) as progress:
            task = progress.add_task("starting", total=None)
            yield lambda step: progress.update(task, description=escape(step))

    @contextmanager
    def bar(self, description: str, total: int) -> Iterator[Callable[[int, str], None]]:
        """Show a progress bar; yields a function that takes the parts done and a note."""
        if not self.shows_text:
            yield lambda _done, _note: None
            return
        with (
            _write_errors(),
            Progress(
                TextColumn("{task.description}"),
                BarColumn(),
                TextColumn("{task.percentage:>3.0f}%  {task.fields[note]}"),
                TimeElapsedColumn(),
                console=self.out,
            ) as progress,
        ):
            task = progress.add_task(description, total=total, note="")
            yield lambda done, note: progress.update(task, completed=done, note=note)


def _width(stream: TextIO) -> int | None:
    """Columns for a stream; None to use the width of the terminal."""
    if not stream.isatty():
        return 160  # tables must survive a pipe, where rich would wrap at 80 columns
    return 80 if set(os.environ.get("COLUMNS", "")) == {"0"} else None  # rich would print nothing


class _Console(Console):
    """A console that re-raises BrokenPipeError, where rich would exit the program."""

    def on_broken_pipe(self) -> None:
        """Called by rich while it handles the BrokenPipeError."""
        raise


@contextmanager
def _write_errors() -> Iterator[None]:
    """Turn an OSError into an OutputError that names standard output."""
    try:
        yield
    except OSError as error:
        raise OutputError(
            "standard output cannot be written",
            expected="a terminal, file or program that takes what is printed",
            found=error.strerror or str(error),
            hint="print to another place; what the command wrote to files is there",
        ) from error
