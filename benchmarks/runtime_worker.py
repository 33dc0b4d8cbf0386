"""Run files in one runtime, started with the Python of that runtime's environment.

    python runtime_worker.py JOBS RESULTS

JOBS is a JSON list of :class:`runtime_cells.Job`. RESULTS gets a line when a job begins and one
when it ends, which shows the job that ended the process.
"""

from __future__ import annotations

import json
import statistics
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np

from ssn_prune.errors import InferenceRuntimeError
from ssn_prune.runtime.backends.running import RunningFile
from ssn_prune.runtime.backends.table import backend_of

_WARMUP = 2
_LIMIT_SECONDS = 20.0  # of timing a job; slow networks get fewer runs, at least 1


def outputs_of(job: dict[str, Any]) -> dict[str, np.ndarray]:
    """The outputs of all calls, each joined along the batch."""
    run = RunningFile(backend_of(job["backend"]), Path(job["path"]))
    samples = np.load(job["samples"])
    calls = [run([samples[begin:end]]) for begin, end in job["batches"]]
    joined = [np.concatenate(parts) for parts in zip(*calls, strict=True)]
    return {str(index): value for index, value in enumerate(joined)}


def latencies_of(job: dict[str, Any]) -> list[float]:
    """Median seconds of one sample in the file and in its twin, which take turns."""
    backend, sample = backend_of(job["backend"]), np.load(job["samples"])[:1]
    files = [RunningFile(backend, Path(path)) for path in (job["path"], job["twin"])]
    times: list[list[float]] = [[], []]
    began = time.perf_counter()
    for turn in range(_WARMUP + job["runs"]):
        for file, seconds in zip(files, times, strict=True):
            start = time.perf_counter()
            file([sample])
            if turn >= _WARMUP:
                seconds.append(time.perf_counter() - start)
        if times[1] and time.perf_counter() - began > _LIMIT_SECONDS:
            break
    return [statistics.median(seconds) for seconds in times]


def main() -> None:
    jobs = json.loads(Path(sys.argv[1]).read_text(encoding="utf-8"))
    with open(sys.argv[2], "w", encoding="utf-8", buffering=1) as results:
        for job in jobs:
            results.write(json.dumps({"begins": job["name"]}) + "\n")
            result: dict[str, Any] = {"ends": job["name"]}
            try:
                result["version"] = backend_of(job["backend"]).version()
                if job["twin"] is None:
                    np.savez(job["outputs"], **outputs_of(job))
                else:
                    result["seconds"] = latencies_of(job)
            except InferenceRuntimeError as error:
                result["refusal"] = error.found
            results.write(json.dumps(result) + "\n")


if __name__ == "__main__":
    main()
