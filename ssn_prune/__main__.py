"""The command line, as ``ssn-prune`` and as ``python -m ssn_prune``."""

import os
import sys


def main() -> None:
    """Run the command line; from here on a signal ends it cleanly."""
    from ssn_prune.cli.signals import exit_on_signals
    from ssn_prune.cli.streams import sound_streams

    with exit_on_signals(), sound_streams():
        from ssn_prune.cli.app import app

        app()


def _forget_the_current_folder() -> None:
    """``python -m`` puts it first, and a file typer.py there would be taken for the package."""
    if sys.path and sys.path[0] in ("", os.getcwd()) and not sys.flags.safe_path:
        del sys.path[0]


if __name__ == "__main__":
    _forget_the_current_folder()
    main()
