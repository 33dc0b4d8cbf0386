"""Measure probes of normalization layers on this device, and write costs.json.

    python run.py [--provider cuda] [--threads 1] [--runs 20] [--output costs.json]

Needs only Python 3.8 or newer, numpy and onnxruntime. It reads manifest.json and the ONNX files
next to it. The result is for `ssn-prune search MODEL --costs costs.json`.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import sys
import time
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime

FREE = "BN/BN"
TURNS_SECONDS, MOST_RUNS = 0.8, 400
DTYPES = {"tensor(float16)": "float16", "tensor(double)": "float64", "tensor(int64)": "int64"}


def open_file(path: Path, batch: int, threads: int, provider: str) -> Any:
    """A session, and normally distributed values for its inputs."""
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    options.log_severity_level = 3
    session = onnxruntime.InferenceSession(str(path), options, providers=[provider])
    if session.get_providers()[0] != provider:  # it would silently run on the CPU
        sys.exit(f"ONNX Runtime does not run on {provider} here")
    random = np.random.default_rng(0)
    feed = {}
    for value in session.get_inputs():
        shape = [size if isinstance(size, int) else batch for size in value.shape]
        feed[value.name] = random.standard_normal(shape).astype(DTYPES.get(value.type, "float32"))
    return session, feed


def milliseconds(sessions: dict[str, Any], runs: int) -> dict[str, float]:
    """The shortest run of each; all run in turns, so that noise affects all alike."""
    shortest = {name: float("inf") for name in sessions}

    def turns(count: int) -> None:
        for _ in range(count):
            for name, (session, feed) in sessions.items():
                start = time.perf_counter()
                session.run(None, feed)
                shortest[name] = min(shortest[name], time.perf_counter() - start)

    turns(3)
    turns(max(runs, min(MOST_RUNS, round(TURNS_SECONDS / sum(shortest.values())))))
    return {name: 1e3 * seconds for name, seconds in shortest.items()}


def processor() -> str:
    """The name of this device's processor."""
    try:
        text = Path("/proc/cpuinfo").read_text(encoding="utf-8")
    except OSError:
        return platform.processor() or platform.machine()
    names = [line.split(":", 1)[1].strip() for line in text.splitlines() if "model name" in line]
    return names[0] if names else platform.machine()


def provider_named(name: str) -> str:
    """The provider of this name, with or without its suffix, in any case."""
    known = onnxruntime.get_available_providers()
    short = name.lower().replace("executionprovider", "")
    for provider in known:
        if provider.lower().replace("executionprovider", "") == short:
            return str(provider)
    return sys.exit(f"there is no provider {name} here, only {', '.join(known)}")


def measure(folder: Path, manifest: Any, args: argparse.Namespace) -> dict[str, Any]:
    """Time the files of every place, and add up the costs of each layer."""
    provider = provider_named(args.provider)
    times = []
    for index, place in enumerate(manifest["places"]):
        sys.stderr.write(f"\rplace {index + 1} of {len(manifest['places'])}")
        sessions = {
            pair: open_file(folder / name, place["batch"], args.threads, provider)
            for pair, name in place["files"].items()
        }
        times.append(milliseconds(sessions, args.runs))
    norm_free = None
    if manifest["norm_free"] is not None:
        sys.stderr.write("\rthe network without norms\n")
        file = folder / manifest["norm_free"]
        opened = open_file(file, manifest["costs"]["batch"], args.threads, provider)
        norm_free = milliseconds({"norm-free": opened}, args.runs)["norm-free"]
    layers = []
    for layer in manifest["layers"]:
        for pair in layer["pairs"]:
            added = sum(times[place][pair] - times[place][FREE] for place in layer["places"])
            mean, var = pair.split("/")
            entry = {"layer": layer["layer"], "pair": {"mean": mean, "var": var}}
            layers.append({**entry, "milliseconds": added})
    return {
        **manifest["costs"],
        "date": datetime.now(timezone.utc).isoformat(timespec="seconds"),
        "runtime": f"ONNX Runtime {onnxruntime.__version__}",
        "processor": args.device or processor(),
        "provider": provider,
        "threads": args.threads,
        "norm_free_ms": norm_free,
        "layers": layers,
    }


def main() -> None:
    """Measure, and write the result completely or not at all."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--provider", default="cpu", help="execution provider, such as cuda")
    parser.add_argument("--threads", type=int, default=1, help="threads of ONNX Runtime")
    parser.add_argument("--runs", type=int, default=20, help="runs of each file, at least")
    parser.add_argument("--device", help="name of the device, such as that of a GPU or a board")
    parser.add_argument("--output", type=Path, default=Path("costs.json"))
    args = parser.parse_args()
    if args.threads < 1 or args.runs < 1:
        parser.error("--threads and --runs must be 1 or more")
    if not args.output.resolve().parent.is_dir():
        parser.error(f"the folder of {args.output} does not exist")
    folder = Path(__file__).resolve().parent
    try:
        manifest = json.loads((folder / "manifest.json").read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        sys.exit(f"manifest.json, which belongs next to this program, cannot be read: {error}")
    result = measure(folder, manifest, args)
    temporary = args.output.with_name(f"{args.output.name}.{os.getpid()}.tmp")
    try:
        temporary.write_text(json.dumps(result, indent=1), encoding="utf-8")
        temporary.replace(args.output)
    finally:
        if temporary.exists():
            temporary.unlink()
    sys.stderr.write(f"wrote {args.output}\n")


if __name__ == "__main__":
    main()
