"""Networks in every runtime that people use: whether a file loads, its error, its latency.

    python benchmarks/runtimes.py [--small] [--networks NAME ...] [--runtimes NAME ...]
        [--targets NAME ...] [--checkpoint FILE] [--runs 20] [--environments DIR] [--write]
        [--check N]

Every runtime has an environment of its own (see ``runtime_environments``), made in DIR or in a
temporary folder. Every network is exported for each target, with a dynamic batch ("open") and for
one sample ("fixed"). Its twin is the same network with BatchNorm in every layer, exported by torch
alone. Outputs are compared with those of the network in float64. A cell is right if its error is at
most max(1e-5, 10 times the twin's in that runtime) of the largest output, in three calls, with
three batch sizes if the batch is dynamic. The number after it is the latency of one sample in units
of the twin's, on one thread, files taking turns.

``--write`` writes ``results/runtimes.json`` and ``.md``. ``--check`` fails unless N cells are
right, and all others fail as their twin does or are refused by a runtime that reads the file made
for it.
"""

from __future__ import annotations

import argparse
import json
import shutil
import sys
import tempfile
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import Any

from machine import heading
from runtime_cells import run_files
from runtime_environments import ENVIRONMENTS, Environment, environment_of, make
from runtime_files import File, describe, export_all
from runtime_networks import LARGE, SMALL
from runtime_table import table_of
from runtime_verdicts import TWIN, Cell, Outcome, complaints, judge

from ssn_prune.onnx_export.targets import PORTABLE, TARGETS

_RESULTS = Path(__file__).with_name("results")
_YARDSTICK = "ort"  # its errors stand beside those of the others
Ran = tuple[str, dict[File, Outcome]]


def main() -> None:
    options = _options()
    with tempfile.TemporaryDirectory() as name, _environments(options, Path(name)) as made:
        cells, files, versions = _cells(options, made, Path(name))
    text = table_of(cells, options.runtimes)
    print(text)
    if options.write:
        places = {str(options.checkpoint): "CHECKPOINT", str(options.environments): "DIR"}
        command = " ".join(["runtimes.py", *(places.get(word, word) for word in sys.argv[1:])])
        how = f"one thread, one sample, medians of up to {options.runs} runs taking turns"
        title = heading("Networks in every runtime", command, how)
        listed = ", ".join(f"{runtime}: {version}" for runtime, version in versions.items())
        (_RESULTS / "runtimes.md").write_text(f"{title}Versions: {listed}.\n\n{text}\n")
        pins = {one.name: one.requirements for one in ENVIRONMENTS if one.name in versions}
        record = {"command": command, "versions": versions, "requirements": pins, "files": files}
        record["cells"] = [asdict(cell) for cell in cells]
        (_RESULTS / "runtimes.json").write_text(json.dumps(record, indent=1) + "\n")
    backends = {one.name: one.backend for one in ENVIRONMENTS}
    if options.check is not None and (found := complaints(cells, options.check, backends)):
        sys.exit("\n".join(found))


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    known = [one.name for one in ENVIRONMENTS]
    parser.add_argument("--small", action="store_true", help=f"only {', '.join(SMALL)}, untimed")
    parser.add_argument("--networks", nargs="+", choices=[*SMALL, *LARGE])
    parser.add_argument("--runtimes", nargs="+", choices=known, default=known)
    targets = [target.name for target in TARGETS]
    parser.add_argument("--targets", nargs="+", choices=targets, default=targets)
    parser.add_argument("--checkpoint", type=Path, help="the trained reference ResNet-18")
    parser.add_argument("--runs", type=int, default=20)
    parser.add_argument("--environments", type=Path, help="where they are kept")
    parser.add_argument("--write", action="store_true", help="write the results")
    parser.add_argument("--check", type=int, metavar="N", help="the number of cells")
    options = parser.parse_args()
    options.networks = options.networks or list(SMALL if options.small else SMALL | LARGE)
    options.runs = 0 if options.small else options.runs
    options.runtimes = [name for name in known if name in {*options.runtimes, _YARDSTICK}]
    return options


Made = dict[Environment, tuple[Path, Future[None]]]


@contextmanager
def _environments(options: argparse.Namespace, folder: Path) -> Iterator[Made]:
    """Begin to make the environments, all at the same time."""
    home = options.environments or folder / "environments"
    home.mkdir(parents=True, exist_ok=True)
    with ThreadPoolExecutor() as pool:
        chosen = [environment_of(name) for name in options.runtimes]
        yield {one: (one.python_in(home), pool.submit(make, one, home)) for one in chosen}


def _cells(
    options: argparse.Namespace, made: Made, folder: Path
) -> tuple[list[Cell], list[dict[str, Any]], dict[str, str]]:
    """Export every network, and run it in every environment."""
    cells: list[Cell] = []
    files: list[dict[str, Any]] = []
    versions: dict[str, str] = {}
    # While files are timed, nothing else runs.
    with ThreadPoolExecutor(1 if options.runs else 2) as pool:
        waiting = []
        for name in options.networks:
            target = folder / name.replace(", ", "-")
            exported = export_all(name, options.targets, target / "files", options.checkpoint)
            files += [describe(file) for file in exported]

            def run(one: Environment, exported=exported, target=target) -> Ran:
                python, future = made[one]
                future.result()
                files = [file for file in exported if _concerns(file, one)]
                return run_files(one, python, files, target / one.name, options.runs)

            waiting.append((exported, {one: pool.submit(run, one) for one in made}))
            if options.runs:
                cells += _judged(*waiting.pop(), versions)
                shutil.rmtree(target)
                print(f"{name}: {len(cells)} cells so far", file=sys.stderr, flush=True)
                for cell in cells:
                    if cell.network == name and cell.verdict != "right":
                        print(f"  {cell}", file=sys.stderr, flush=True)
        for exported, running in waiting:
            cells += _judged(exported, running, versions)
    return cells, files, versions


def _concerns(file: File, environment: Environment) -> bool:
    """Whether it is run there: a file for one runtime runs in that one and in ONNX Runtime."""
    everywhere = file.target in (PORTABLE, TWIN) or environment.name == _YARDSTICK
    return everywhere or file.target == environment.backend


def _judged(
    files: list[File], running: dict[Environment, Future[Ran]], versions: dict[str, str]
) -> list[Cell]:
    """Wait for the runs of a network's files, and judge them."""
    found: dict[str, dict[str, dict[str, Outcome]]] = {}
    for environment, future in running.items():
        versions[environment.name], outcomes = future.result()
        for file, outcome in outcomes.items():
            found.setdefault(environment.name, {}).setdefault(file.form, {})[file.target] = outcome
    return [
        judge(
            file.network,
            file.form,
            file.target,
            runtime,
            forms[file.form],
            found[_YARDSTICK][file.form],
        )
        for file in files
        for runtime, forms in found.items()
        if file.target in forms[file.form]
    ]


if __name__ == "__main__":
    main()
