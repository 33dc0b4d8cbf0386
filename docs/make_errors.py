"""Write docs/errors.md from the error classes: ``python docs/make_errors.py``."""

from __future__ import annotations

import inspect
import textwrap
from pathlib import Path

from ssn_prune import errors
from ssn_prune.cli.exit_codes import exit_code
from ssn_prune.cli.flags import with_flags
from ssn_prune.errors import SsnPruneError

PAGE = Path(__file__).with_name("errors.md")
_HEAD = """\
# Errors

Made from the classes by `python docs/make_errors.py`. An error has a `problem`, what was
`expected`, what was `found`, and a `hint` for the case at hand, which is better than the general
cure below. In Python these are attributes of the exception. With `--json` they are fields of
`error`, next to the `code`, which is stable, and the `type`, which is the class.

Exit statuses: 0 ok, 1 failure, 2 usage, 3 verification failed or the bound of a search refuted, 4
gates that are not one-hot, 141 the reader of the output has closed it, and 128 + n ended by
signal n (130 for Ctrl-C).
"""
_DEFECT = """
## `unexpected`

Any other exception, exit status 1. A defect of ssn_prune.

Cure: run again with `--debug`, and report the traceback.
"""


def kinds() -> list[type[SsnPruneError]]:
    """Every error class that is raised, in the order of the module."""
    found = [value for value in vars(errors).values() if isinstance(value, type)]
    return [k for k in found if issubclass(k, SsnPruneError) and k is not SsnPruneError]


def meaning_and_cure(kind: type[SsnPruneError]) -> tuple[str, str]:
    """What the docstring of a class says first, and what it says after ``Cure:``."""
    parts = [" ".join(part.split()) for part in inspect.getdoc(kind).split("\n\n")]
    (cure,) = [part.removeprefix("Cure: ") for part in parts if part.startswith("Cure: ")]
    return parts[0], cure


def page() -> str:
    """The text of the page."""
    return _HEAD + "".join(map(_section, kinds())) + _DEFECT


def _section(kind: type[SsnPruneError]) -> str:
    meaning, cure = meaning_and_cure(kind)
    status = exit_code(kind.__new__(kind))
    lines = (f"{kind.__name__}, exit status {status}. {meaning}", f"Cure: {with_flags(cure)}")
    filled = "\n\n".join(textwrap.fill(line, 100, break_on_hyphens=False) for line in lines)
    return f"\n## `{kind.code}`\n\n{filled}\n"


if __name__ == "__main__":
    PAGE.write_text(page(), encoding="utf-8")
