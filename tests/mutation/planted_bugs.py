"""Plant deliberate faults, one at a time, and see whether the tests catch each.

    python tests/mutation/planted_bugs.py [--only NAME ...] [--markdown FILE]

Each fault replaces a piece of text in a copy of the package. The tests named with it run first; if
they all pass, the whole suite does. Exits with 1 if a fault is missed. The table of the last run is
``benchmarks/results/planted_bugs.md``.
"""

from __future__ import annotations

import argparse
import os
import platform
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterable
from datetime import date
from importlib.metadata import version
from pathlib import Path

from planted_faults import FAULTS, Fault

ROOT = Path(__file__).resolve().parents[2]
COPIED = ("ssn_prune", "tests", "examples", "docs", "pyproject.toml", "README.md", "cli.py")


def copy_of_project(folder: Path) -> Path:
    """Copy what the tests need."""
    for name in COPIED:
        source, target = ROOT / name, folder / name
        if source.is_dir():
            shutil.copytree(source, target, ignore=shutil.ignore_patterns("__pycache__"))
        else:
            shutil.copy(source, target)
    return folder


def plant(project: Path, fault: Fault) -> None:
    """Change the copy.

    Raises:
        ValueError: The text to replace is not there exactly once.
    """
    path = project / "ssn_prune" / fault.file
    text = path.read_text()
    if text.count(fault.old) != 1:
        raise ValueError(f"{fault.name}: found {text.count(fault.old)} times in {fault.file}")
    path.write_text(text.replace(fault.old, fault.new))


def first_failure(project: Path, tests: Iterable[str]) -> str | None:
    """Run tests until one fails; its name, or None if none does."""
    command = [sys.executable, "-m", "pytest", "-x", "-q", "-p", "no:cacheprovider", "--tb=no"]
    environment = os.environ | {"PYTHONPATH": str(project), "PYTHONDONTWRITEBYTECODE": "1"}
    process = subprocess.run(
        [*command, *tests], cwd=project, env=environment, capture_output=True, text=True
    )
    lines = process.stdout.splitlines()
    failures = [line for line in lines if line.startswith(("FAILED ", "ERROR "))]
    failed = [line.partition(" ")[2].partition(" - ")[0] for line in failures]
    if failed:
        return failed[0]
    if process.returncode:
        raise RuntimeError("\n".join(lines[-20:]) + process.stderr[-2000:])
    return None


def caught_by(fault: Fault) -> tuple[str | None, float]:
    """The first test that fails with a fault, and the seconds it took to find it."""
    start = time.perf_counter()
    with tempfile.TemporaryDirectory() as folder:
        project = copy_of_project(Path(folder))
        plant(project, fault)
        named = [f"tests/{name}" for name in fault.tests]
        failure = first_failure(project, named) or first_failure(project, ["tests"])
    return failure, time.perf_counter() - start


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--only", nargs="+", default=[fault.name for fault in FAULTS])
    parser.add_argument("--markdown", type=Path)
    arguments = parser.parse_args()
    rows, missed = [], 0
    for fault in (fault for fault in FAULTS if fault.name in arguments.only):
        failure, seconds = caught_by(fault)
        missed += failure is None
        rows.append(
            f"| {fault.name} | `{fault.file}` | {failure or '**missed**'} | {seconds:.0f} |"
        )
        print(rows[-1], flush=True)
    summary = f"{len(rows) - missed} of {len(rows)} faults caught."
    print(summary)
    if arguments.markdown:
        versions = f"torch {version('torch')}, pytest {version('pytest')}, {platform.machine()} CPU"
        head = "| fault | file | first test that fails | s |\n|---|---|---|---|\n"
        arguments.markdown.write_text(
            f"# Planted faults\n\n`python tests/mutation/planted_bugs.py`: "
            f"{versions}, {date.today()}. {summary}\n\n{head}" + "\n".join(rows) + "\n"
        )
    return int(missed > 0)


if __name__ == "__main__":
    sys.exit(main())
