"""The command line, as ``ssn-prune`` and as ``python -m ssn_prune``."""

import os
import sys


def main() -> None:
    """Run the command line; from here on a signal ends it cleanly."""
    # ONNX Runtime would report to its maker, and keep files in the home and temporary folders.
    os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")
    from ssn_prune.cli.signals import exit_on_signals
    from ssn_prune.cli.streams import sound_streams

    with exit_on_signals(), sound_streams():
        from ssn_prune.cli.app import app

        try:
            app()
        # Commands name what they cannot write: this is the help or the version.
        except OSError as error:
            sys.exit(f"error: the output cannot be written: {error.strerror or error}")


def _forget_the_current_folder() -> None:
    """``python -m`` puts it first, and a file typer.py there would be taken for the package."""
    try:
        here = os.getcwd()
    except FileNotFoundError:  # it was removed
        here = ""
    if sys.path and sys.path[0] in ("", here) and not sys.flags.safe_path:
        del sys.path[0]


if __name__ == "__main__":
    _forget_the_current_folder()
    main()
