"""What may follow on a command line. Runs at every press of TAB, so it imports next to nothing.

What there is to complete is generated (``python docs/make_completion.py``): ``commands.json`` and
``architectures.txt``.
"""

from __future__ import annotations

import json
import os
import sys

_FOLDER = os.path.dirname(__file__)
_LIBRARIES = ("torchvision:", "timm:")
_LONGEST = 70

FILES = "files"
WORDS = "words"


def answer(line: str) -> str:
    """Answer a shell.

    Args:
        line: The command line up to the cursor.

    Returns:
        A line that says what follows, ``files`` (the shell completes them) or ``words``; then a
        word a line, with a tab and a description.
    """
    kind, found = candidates(line)
    lines = [kind, *("\t".join(filter(None, entry)) for entry in found)]
    return "".join(f"{text}\n" for text in lines)


def candidates(line: str) -> tuple[str, list[tuple[str, str]]]:
    """What may stand in the place of the last word.

    Args:
        line: The command line up to the cursor.

    Returns:
        :data:`FILES` or :data:`WORDS`, and words with descriptions.
    """
    words, current = _split(line)
    with open(os.path.join(_FOLDER, "commands.json"), encoding="utf-8") as file:
        commands = json.load(file)
    name = next((word for word in words if not word.startswith("-")), None)
    if name is None:
        known = commands[""]["options"] if current.startswith("-") else commands
        return WORDS, _matching(current, {key: known[key]["help"] for key in known if key})
    if name not in commands:
        return WORDS, []
    command = commands[name]
    options = command["options"]
    if "--" in words:
        return _values(command, current, "")
    option, equals, start = current.partition("=")
    if equals and option in options:
        return _values(options[option], start, f"{option}=")
    if words[-1] in options and not options[words[-1]].get("flag"):
        return _values(options[words[-1]], current, "")
    if current.startswith("-"):
        given = {word.partition("=")[0] for word in words}
        left = {
            key: entry["help"]
            for key, entry in options.items()
            if entry.get("multiple") or key not in given
        }
        return WORDS, _matching(current, left)
    return _values(command, current, "")


def _split(line: str) -> tuple[list[str], str]:
    """The words after the program's name, and the one at the cursor, which may be empty."""
    words = line.split()
    current = words.pop() if words and not line[-1:].isspace() else ""
    return words[1:], current


def _values(entry: dict[str, object], start: str, before: str) -> tuple[str, list[tuple[str, str]]]:
    """Values of an option, or arguments of a command."""
    takes = entry.get("takes")
    if takes == "files":
        return FILES, []
    if takes == "architecture":
        return WORDS, [(before + word, "") for word in _architectures(start)]
    choices = takes if isinstance(takes, list) else []
    return WORDS, [(before + word, "") for word in choices if word.startswith(start)]


def _architectures(start: str) -> list[str]:
    """Names that begin with a text; those of a library once its name stands there."""
    with open(os.path.join(_FOLDER, "architectures.txt"), encoding="utf-8") as file:
        names = [line.strip() for line in file if not line.startswith("#")]
    libraries = [library for library in _LIBRARIES if _installed(library[:-1])]
    own = [name for name in names if ":" not in name]
    shown = names if start.startswith(tuple(libraries)) else [*own, *libraries]
    return [name for name in shown if name.startswith(start)]


def _installed(package: str) -> bool:
    return any(os.path.isdir(os.path.join(folder, package)) for folder in sys.path)


def _matching(start: str, known: dict[str, str]) -> list[tuple[str, str]]:
    return [(word, text[:_LONGEST]) for word, text in known.items() if word.startswith(start)]
