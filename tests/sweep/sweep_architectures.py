"""Swap, convert and check whole architectures of torchvision and timm.

    python tests/sweep/sweep_architectures.py [NAME ...] [--torchvision] [--timm] [--all-timm]
        [--jobs 1] [--timeout 600] [--memory 10] [--results FILE] [--resume FILE]
        [--markdown benchmarks/results/architectures.md]
    python tests/sweep/sweep_architectures.py --render FILE [FILE ...] --markdown FILE

NAME is ``torchvision:NAME`` or ``timm:NAME``. Without names: all of torchvision, and the smallest
network of every timm family that has one with a norm to swap. Each network has a process of its
own, with a limit on its time and memory, and ends as OK or with a reason code: see
``sweep_outcome.py``. What is compared is in ``sweep_one.py``, ``sweep_setup.py`` and
``sweep_folds.py``.
"""

from __future__ import annotations

import argparse
import os
import platform
import subprocess
import sys
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor, as_completed
from dataclasses import replace
from datetime import date
from importlib.metadata import version
from pathlib import Path

from sweep_attribution import blame_without_run
from sweep_folds import RULES
from sweep_names import layers_to_swap, smallest_of_each_timm_family, timm_names, torchvision_names
from sweep_outcome import Outcome, Reason, append, from_line, read_outcomes
from sweep_table import markdown

PACKAGES = ("torch", "torchvision", "timm", "onnx", "onnxscript", "onnxruntime")


def names_to_run(arguments: argparse.Namespace) -> list[str]:
    """What was asked for, every name once."""
    everything = not (
        arguments.names or arguments.torchvision or arguments.timm or arguments.all_timm
    )
    names = list(arguments.names)
    if arguments.torchvision or everything:
        names += torchvision_names()
    if arguments.all_timm:
        names += timm_names()
    elif arguments.timm or everything:
        print("looking for the smallest network of every timm family", file=sys.stderr)
        names += smallest_of_each_timm_family()
    return list(dict.fromkeys(names))


def sweep_one(name: str, arguments: argparse.Namespace) -> Outcome:
    """Run one network in a process of its own and give its outcome, whatever happens to it."""
    script = Path(__file__).with_name("sweep_one.py")
    start = time.perf_counter()
    with tempfile.TemporaryDirectory() as folder:
        out = Path(folder) / "outcome.json"
        command = [sys.executable, str(script), name, str(out)]
        command += ["--memory", str(arguments.memory), "--rules", *arguments.rules]
        # The model's own temporary files go with the folder, also where the process is killed.
        environment = os.environ | {"OMP_NUM_THREADS": "1", "TMPDIR": folder}
        try:
            process = subprocess.run(
                command,
                env=environment,
                timeout=arguments.timeout,
                capture_output=True,
                text=True,
                errors="replace",
            )
            code, errors = process.returncode, process.stderr
        except subprocess.TimeoutExpired:
            code, errors = None, ""
        found = from_line(out.read_text()) if out.exists() else Outcome(name, Reason.CRASH)
    outcome = _completed(found, code, errors, time.perf_counter() - start)
    return replace(outcome, environment=environment_line(), date=str(date.today()))


def _completed(found: Outcome, code: int | None, errors: str, seconds: float) -> Outcome:
    """The outcome of a process that may have died or been stopped."""
    if found.reason is not Reason.CRASH:
        return replace(found, seconds=seconds)  # stopped while the blame was looked for, at worst
    where = found.detail.removeprefix("the process died ") or "before the first step"
    if code is None:
        reason, detail = Reason.TIMEOUT, f"stopped after {seconds:.0f} s {where}"
    elif "allocate memory" in errors or "bad_alloc" in errors or "MemoryError" in errors:
        reason, detail = Reason.MEMORY, f"out of memory {where}"
    else:
        last = (errors.strip().splitlines() or [""])[-1][:300]
        reason, detail = Reason.CRASH, f"the process died {where} with exit code {code}: {last}"
    fault = blame_without_run(found.name, reason)
    return replace(
        found,
        reason=reason,
        detail=detail,
        limit=fault.limit,
        reproduction=fault.reproduction,
        seconds=seconds,
    )


def environment_line() -> str:
    versions = ", ".join(f"{package} {version(package)}" for package in PACKAGES)
    return (
        f"Python {platform.python_version()}, {versions}, {platform.machine()} CPU, "
        "1 thread a network"
    )


def run(names: list[str], arguments: argparse.Namespace, results: Path) -> None:
    """Run the names that have no outcome yet, and append each outcome as it comes."""
    done = read_outcomes(results) if arguments.resume else {}
    kept = {n for n, o in done.items() if not arguments.retry or o.reason in _FINAL}
    left = [name for name in names if name not in kept]
    print(f"{len(left)} networks to run, {len(names) - len(left)} done", file=sys.stderr)
    left = _with_layers(left, results)
    with ThreadPoolExecutor(arguments.jobs) as pool:
        futures = [pool.submit(sweep_one, name, arguments) for name in left]
        for number, future in enumerate(as_completed(futures), start=1):
            outcome = future.result()
            append(results, outcome)
            print(f"{number}/{len(left)} {_short(outcome)}", flush=True)


def _with_layers(names: list[str], results: Path) -> list[str]:
    """Those that have a norm to swap, the smallest first; the others get their outcome at once."""
    counts: dict[str, int] = {}
    for name in names:
        try:
            found = layers_to_swap(name)
        except Exception:  # noqa: BLE001  # the network's own process will tell what is wrong
            found = 0
        if isinstance(found, str):
            outcome = Outcome(name, Reason.NO_NORM, found, environment=environment_line())
            append(results, replace(outcome, date=str(date.today())))
        else:
            counts[name] = found
    return sorted(counts, key=lambda name: counts[name])


_FINAL = (Reason.OK, Reason.NO_NORM)


def _short(outcome: Outcome) -> str:
    rounding = "" if outcome.rounding_share is None else f"rounding {outcome.rounding_share:.2f} "
    counts = f"{outcome.layers or 0} layers {outcome.folded or 0} folded {rounding}"
    return f"{outcome.name} {outcome.seconds:.0f} s {counts}{outcome.reason.value} {outcome.detail}"


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("names", nargs="*", metavar="NAME")
    parser.add_argument("--torchvision", action="store_true", help="all of torchvision")
    parser.add_argument("--timm", action="store_true", help="the smallest of every timm family")
    parser.add_argument("--all-timm", action="store_true", help="every name of timm")
    parser.add_argument("--jobs", type=int, default=1, help="processes at a time")
    parser.add_argument("--timeout", type=float, default=600, help="seconds a network")
    parser.add_argument("--memory", type=float, default=10, help="gigabytes a network")
    parser.add_argument("--rules", nargs="+", default=RULES, choices=RULES, help="folds to expect")
    parser.add_argument("--results", type=Path, help="append outcomes here")
    parser.add_argument("--resume", type=Path, help="like --results, leaving out what is there")
    parser.add_argument("--retry", action="store_true", help="with --resume: run failures again")
    parser.add_argument("--render", type=Path, nargs="+", help="only write the table of these")
    parser.add_argument("--markdown", type=Path, help="write the table here")
    arguments = parser.parse_args()
    unknown = [n for n in arguments.names if n.split(":")[0] not in ("torchvision", "timm")]
    if unknown:
        parser.error(f"a name is torchvision:NAME or timm:NAME, not {unknown[0]!r}")
    if arguments.results and arguments.resume:
        parser.error("--resume FILE already says where the results go")
    return arguments


def main() -> None:
    arguments = parse()
    names = names_to_run(arguments)
    if arguments.render:
        outcomes: dict[str, Outcome] = {}
        for path in arguments.render:
            outcomes |= read_outcomes(path)
    else:
        results = arguments.resume or arguments.results or Path("sweep_results.jsonl")
        run(names, arguments, results)
        found = read_outcomes(results)
        outcomes = {name: found[name] for name in names}
    text = markdown(outcomes.values(), set(names) - set(outcomes))
    if arguments.markdown:
        arguments.markdown.write_text(text)
    elif arguments.render:
        print(text)


if __name__ == "__main__":
    main()
