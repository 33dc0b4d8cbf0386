"""Running ONNX files: inputs that fit, taking turns, peak memory, the profile."""

from __future__ import annotations

import json
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import numpy as np
import onnx

from ssn_prune.errors import ArgumentError
from ssn_prune.verification.onnx_runtime import open_session

Feed = dict[str, np.ndarray]

# The largest resident set of this program alone: ru_maxrss would count that of the process that
# started it, so Linux's own counter comes first.
_PEAK = """
import re, resource, sys
import numpy as np, onnxruntime

def peak():
    try:
        found = re.search(r"VmHWM:\\s+(\\d+) kB", open("/proc/self/status").read())
    except OSError:
        found = None
    if found:
        return 1024 * int(found[1])
    unit = 1 if sys.platform == "darwin" else 1024
    return unit * resource.getrusage(resource.RUSAGE_SELF).ru_maxrss

path, threads, names = sys.argv[1], int(sys.argv[2]), sys.argv[4:]
arrays = dict(zip(names, np.load(sys.argv[3]).values()))
before = peak()
options = onnxruntime.SessionOptions()
options.intra_op_num_threads = threads
session = onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])
session.run(None, arrays)
print(peak() - before)
"""


def make_feed(
    graph: onnx.ModelProto, name: str, batch: int, sizes: Sequence[tuple[int, ...]]
) -> Feed:
    """Standard normal inputs for a file; whole numbers are zero.

    Args:
        graph: The file.
        name: Its name, for errors.
        batch: Samples; must be that of the file if it is fixed there.
        sizes: Shapes without the batch, for axes that are dynamic in the file; may be empty.

    Raises:
        ArgumentError: The file has another fixed batch, or a dynamic size is not given.
    """
    rng = np.random.default_rng(0)
    feed: Feed = {}
    known = {initializer.name for initializer in graph.graph.initializer}
    inputs = [value for value in graph.graph.input if value.name not in known]
    for index, value in enumerate(inputs):
        given = sizes[index] if index < len(sizes) else ()
        shape = _shape(value, name, batch, given)
        dtype = onnx.helper.tensor_dtype_to_np_dtype(value.type.tensor_type.elem_type)
        values = rng.standard_normal(shape) if dtype.kind == "f" else np.zeros(shape)
        feed[value.name] = values.astype(dtype)
    return feed


def _shape(
    value: onnx.ValueInfoProto, name: str, batch: int, given: tuple[int, ...]
) -> tuple[int, ...]:
    dims = value.type.tensor_type.shape.dim
    if not dims:
        return ()
    fixed = [dim.dim_value if dim.HasField("dim_value") else None for dim in dims]
    if fixed[0] not in (None, batch):
        raise ArgumentError(
            f"the batch size of {name} is fixed",
            expected=f"`batch={fixed[0]}`",
            found=f"`batch={batch}`",
            hint="convert without `static_batch=` to have it dynamic",
        )
    if None in fixed[1:] and len(given) != len(fixed) - 1:
        names = [dim.dim_param or dim.dim_value for dim in dims]
        raise ArgumentError(
            f"{name} has dynamic sizes in {value.name}",
            expected="`input_size=`, as (H, W) or (C, H, W)",
            found=f"the shape {names}",
            hint="for example `input_size=(3, 224, 224)`",
        )
    rest = given if None in fixed[1:] else tuple(dim for dim in fixed[1:] if dim is not None)
    return (batch, *rest)


def time_in_turns(
    runners: Mapping[str, Callable[[], object]], runs: int, warmup: int = 3
) -> dict[str, list[float]]:
    """Seconds of each run; all take turns, so that noise hits all alike.

    Args:
        runners: What to time.
        runs: Timed runs of each.
        warmup: Runs before that.
    """
    times: dict[str, list[float]] = {name: [] for name in runners}
    for turn in range(warmup + runs):
        for name, run in runners.items():
            start = time.perf_counter()
            run()
            if turn >= warmup:
                times[name].append(time.perf_counter() - start)
    return times


def runner_of(path: Path, name: str, threads: int, feed: Feed) -> Callable[[], object]:
    """A function that runs a file once.

    Raises:
        InferenceRuntimeError: ONNX Runtime cannot load it.
    """
    session = open_session(path, name, threads=threads)
    return lambda: session.run(None, feed)


def peak_memory(path: Path, threads: int, feed: Feed, folder: Path) -> int | None:
    """What loading and running a file once adds to the peak memory of a fresh process, in bytes.

    Returns:
        None where the system does not report it.
    """
    if sys.platform == "win32":
        return None
    arrays = folder / "inputs.npz"
    np.savez(arrays, *feed.values())
    # -P: a file resource.py in the current folder must not be taken for the standard library's.
    command = [sys.executable, "-P", "-c", _PEAK, str(path), str(threads), str(arrays), *feed]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    return int(done.stdout) if done.returncode == 0 else None


def profile_nodes(
    path: Path, threads: int, feed: Feed, runs: int, folder: Path
) -> dict[str, float]:
    """Milliseconds of every node in one run, median over the runs, by node name."""
    session = open_session(path, path.name, threads=threads, profile=folder / "profile")
    for _ in range(runs):
        session.run(None, feed)
    events = json.loads(Path(session.end_profiling()).read_text(encoding="utf-8"))
    suffix = "_kernel_time"
    durations: dict[str, list[float]] = {}
    for event in events:
        if event.get("cat") == "Node" and event["name"].endswith(suffix):
            durations.setdefault(event["name"].removesuffix(suffix), []).append(event["dur"] / 1e3)
    return {name: statistics.median(values) for name, values in durations.items()}
