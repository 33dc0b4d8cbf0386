"""Run files in an environment, in a worker process: a crash ends only the worker."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from runtime_environments import Environment
from runtime_files import BATCHES, File
from runtime_verdicts import TWIN, Outcome

_ROOT = Path(__file__).resolve().parents[1]
_SECONDS_A_JOB = 300.0


@dataclass(frozen=True)
class Job:
    """A job for the worker: latency if ``twin`` is set, else outputs."""

    name: str
    backend: str
    path: str
    samples: str
    batches: Sequence[tuple[int, int]]
    outputs: str
    twin: str | None = None
    runs: int = 0


def run_files(
    environment: Environment, python: Path, files: Sequence[File], folder: Path, runs: int
) -> tuple[str, dict[File, Outcome]]:
    """Run the files of one network in a runtime.

    Args:
        environment: The runtime.
        python: Its Python.
        files: The files.
        folder: For what is written.
        runs: How often files and twins are timed; 0 for not at all.

    Returns:
        The runtime's version, and what became of each file.
    """
    folder.mkdir(parents=True)
    twins = {file.form: file for file in files if file.target == TWIN}
    jobs, timings = [], []
    for index, file in enumerate(files):
        output = str(folder / f"{index}.npz")
        paths = str(file.path), str(file.samples)
        job = Job(str(index), environment.backend, *paths, BATCHES[file.form], output)
        jobs.append(asdict(job))
        if runs and file.target != TWIN:
            twin = {"twin": str(twins[file.form].path), "runs": runs}
            timings.append(asdict(job) | twin | {"name": f"{index} timed"})
    answers = _answers(python, jobs + timings, folder)
    versions = {answer["version"] for answer in answers.values() if "version" in answer}
    outcomes = {}
    for index, file in enumerate(files):
        timed = answers.get(f"{index} timed", {}).get("seconds")
        outcomes[file] = _outcome(answers[str(index)], file, folder / f"{index}.npz", timed)
    return " ".join(sorted(versions)), outcomes


def _answers(python: Path, jobs: list[dict[str, Any]], folder: Path) -> dict[str, dict[str, Any]]:
    """The answer to each job; after a job that ends the process, the rest run in another one."""
    answers: dict[str, dict[str, Any]] = {}
    worker = Path(__file__).with_name("runtime_worker.py")
    while left := [job for job in jobs if job["name"] not in answers]:
        asked, answered = folder / "jobs.json", folder / "results.jsonl"
        asked.write_text(json.dumps(left), encoding="utf-8")
        answered.unlink(missing_ok=True)
        environ = os.environ | {"PYTHONPATH": str(_ROOT), "OMP_NUM_THREADS": "1"}
        try:
            done = subprocess.run(
                [python, worker, asked, answered],
                env=environ,
                capture_output=True,
                text=True,
                errors="replace",
                timeout=_SECONDS_A_JOB * len(left),
                check=False,
            )
            ending = "crashed", _ending(done)
        except subprocess.TimeoutExpired:
            ending = "hung", f"no answer within {_SECONDS_A_JOB:.0f} s a file"
        if not answered.exists():
            raise SystemExit(f"{python} cannot run {worker.name}: {ending[1]}")
        begun = ""
        for line in answered.read_text(encoding="utf-8").splitlines():
            message = json.loads(line)
            begun = message.get("begins", begun)
            if "ends" in message:
                answers[message["ends"]] = message
        if begun not in answers:
            answers[begun] = {"kind": ending[0], "reason": ending[1]}
    return answers


def _ending(done: subprocess.CompletedProcess[str]) -> str:
    if done.returncode < 0:
        return signal.Signals(-done.returncode).name
    return (done.stderr.strip() or f"status {done.returncode}").splitlines()[-1]


def _outcome(answer: Mapping[str, Any], file: File, path: Path, timed: Any) -> Outcome:
    if "kind" in answer:
        return Outcome(answer["kind"], answer["reason"])
    if "refusal" in answer:
        # Without the folder, which differs from run to run.
        return Outcome("refused", re.sub(r"\S*/(?=[^/\s]+\.onnx)", "", answer["refusal"]))
    return Outcome("ran", error=_error(file, path), seconds=tuple(timed) if timed else None)


def _error(file: File, path: Path) -> float:
    """The largest error of any output, in units of the largest value of that output."""
    with np.load(path) as found, np.load(file.expected) as expected:
        errors = []
        for name in expected.files:
            last = BATCHES[file.form][-1][1]
            right = expected[name][:last]
            if name not in found.files or found[name].shape != right.shape:
                return float("inf")
            errors.append(np.abs(found[name] - right).max() / np.abs(right).max())
    worst = float(np.max(errors))
    return worst if np.isfinite(worst) else float("inf")
