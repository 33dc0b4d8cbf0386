"""The command line, as ``ssn-prune`` and as ``python -m ssn_prune``."""

import os
import sys


def main() -> None:
    """Run the command line, which a signal ends cleanly."""
    _forget_the_current_folder()
    if sys.argv[1:2] == ["__complete"]:  # asked at every press of TAB: import nothing heavy
        from ssn_prune.completion.candidates import answer

        sys.stdout.write(answer(" ".join(sys.argv[2:])))
        return
    # ONNX Runtime would send telemetry, and keep files in the home and temporary folders.
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
    """Take it off ``sys.path``: a file typer.py there would be taken for the package.

    ``python -m`` puts it first, and so does an empty entry of PYTHONPATH, which nobody intends.
    """
    try:
        here = os.getcwd()
    except FileNotFoundError:  # it was removed
        here = ""
    entries = os.environ.get("PYTHONPATH", "").split(os.pathsep)
    named = any(entry and os.path.abspath(entry) == here for entry in entries)
    put_first = 0 if sys.flags.safe_path else 1
    before_python = put_first if named else put_first + len(entries)
    kept = [path for path in sys.path[:before_python] if path not in ("", here)]
    sys.path[:before_python] = kept


if __name__ == "__main__":
    main()
