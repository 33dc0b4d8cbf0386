"""Exit codes of the command line."""

from __future__ import annotations

from ssn_prune.errors import (
    ArgumentError,
    SsnPruneError,
    UnconvergedGatesError,
    VerificationError,
)

OK = 0
FAILURE = 1
USAGE = 2
VERIFICATION = 3
UNCONVERGED = 4
INTERRUPTED = 130
BROKEN_PIPE = 141

# The most specific class of an error determines its code.
EXIT_CODES: dict[type[SsnPruneError], int] = {
    SsnPruneError: FAILURE,
    ArgumentError: USAGE,
    VerificationError: VERIFICATION,
    UnconvergedGatesError: UNCONVERGED,
}


def exit_code(error: SsnPruneError) -> int:
    """The exit code of the most specific class of an error."""
    return next(EXIT_CODES[kind] for kind in type(error).__mro__ if kind in EXIT_CODES)
