"""Everything that takes too long for continuous integration, in pieces, with a table of outcomes.

    python release/check.py FOLDER [--only TEXT ...] [--again] [--list]

FOLDER keeps the outcome and the output of every piece. A piece that passed for these sources is not
run again, so the check can be stopped at any time. A piece that failed is run again, and with
``--again`` all are. ``--only`` selects the pieces whose name contains one of the texts. The exit
code is 1 if a piece failed, and 2 if one has yet to be run.

The pieces are listed in ``pieces.py``; all of them take about a day on two cores.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import re
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from environments import python_of
from pieces import PIECES, Piece

ROOT = Path(__file__).resolve().parents[1]
SOURCES = ("ssn_prune", "tests", "benchmarks", "examples", "release", "pyproject.toml")


@dataclass(frozen=True)
class Outcome:
    """What became of a piece.

    Attributes:
        name: Of the piece.
        sources: A digest of the files that were checked.
        passed: Whether its command returned 0.
        seconds: How long it took.
        said: The last line that it printed.
    """

    name: str
    sources: str
    passed: bool
    seconds: float
    said: str


def main() -> int:
    """Run what has not passed, and print the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", type=Path, metavar="FOLDER")
    parser.add_argument("--only", nargs="+", default=[""], metavar="TEXT")
    parser.add_argument("--again", action="store_true", help="also what has passed")
    parser.add_argument("--list", action="store_true", help="run nothing")
    options = parser.parse_args()
    options.folder.mkdir(parents=True, exist_ok=True)
    record = options.folder.resolve() / "outcomes.jsonl"
    sources = digest()
    for piece in PIECES:
        chosen = any(text in piece.name for text in options.only) and not options.list
        before = outcomes(record, sources).get(piece.name)
        if chosen and (options.again or before is None or not before.passed):
            print(f"{piece.name} ...", file=sys.stderr, flush=True)
            keep(record, run(piece, record.parent, sources))
    found = outcomes(record, sources)
    print(table(PIECES, found))
    if any(not outcome.passed for outcome in found.values()):
        return 1
    return 0 if len(found) == len(PIECES) else 2


def digest() -> str:
    """What identifies the files that are checked."""
    found = [path for name in SOURCES for path in (ROOT / name, *(ROOT / name).rglob("*"))]
    files = {path for path in found if path.is_file() and "__pycache__" not in path.parts}
    total = hashlib.sha256()
    for file in sorted(files):
        name = file.relative_to(ROOT).as_posix().encode()
        total.update(name + b"\0" + hashlib.sha256(file.read_bytes()).digest())
    return total.hexdigest()[:12]


def run(piece: Piece, folder: Path, sources: str) -> Outcome:
    """Run a piece, its output in a file."""
    log = folder / (re.sub(r"\W+", "_", piece.name) + ".log")
    start = time.monotonic()
    try:
        python = python_of(piece.environment, folder)
    except subprocess.CalledProcessError as error:
        said = f"its environment cannot be made: pip ended with {error.returncode}"
        return Outcome(piece.name, sources, False, time.monotonic() - start, said)
    words = [word.format(folder=folder) for word in piece.command]
    with log.open("w") as file:
        done = subprocess.run(
            [python, *words], cwd=ROOT, stdout=file, stderr=subprocess.STDOUT, check=False
        )
    lines = log.read_text(errors="replace").split("\n")
    said = next((line.strip() for line in reversed(lines) if line.strip()), "")
    return Outcome(piece.name, sources, done.returncode == 0, time.monotonic() - start, said)


def keep(record: Path, outcome: Outcome) -> None:
    """Append an outcome; the last of a name counts."""
    with record.open("a", encoding="utf-8") as file:
        file.write(json.dumps(asdict(outcome)) + "\n")


def outcomes(record: Path, sources: str) -> dict[str, Outcome]:
    """The last outcome of each piece for these sources; a line that was cut off is skipped."""
    found: dict[str, Outcome] = {}
    for line in record.read_text(encoding="utf-8").splitlines() if record.exists() else []:
        try:
            outcome = Outcome(**json.loads(line))
        except ValueError:
            continue
        if outcome.sources == sources:
            found[outcome.name] = outcome
    return found


def table(pieces: Sequence[Piece], found: dict[str, Outcome]) -> str:
    """All pieces, a row each."""
    rows = ["| piece | result | min | last line |", "| --- | --- | --- | --- |"]
    for piece in pieces:
        outcome = found.get(piece.name)
        if outcome is None:
            rows.append(f"| {piece.name} | to be run | | |")
            continue
        result = "passed" if outcome.passed else "**failed**"
        said = outcome.said[:100].replace("|", "/")
        rows.append(f"| {piece.name} | {result} | {outcome.seconds / 60:.1f} | {said} |")
    return "\n".join(rows)


if __name__ == "__main__":
    sys.exit(main())
