"""Latency of the files that two versions of ssn_prune write, in ONNX Runtime.

    PYTHONPATH=REPOSITORY:benchmarks python benchmarks/research/old_and_new.py export DIR CHECKPOINT
    PYTHONPATH=benchmarks python benchmarks/research/old_and_new.py compare OLD NEW [--write]

Run the first command once for each version, with its working tree as REPOSITORY. CHECKPOINT is the
trained reference ResNet-18; the other networks are those of ``runtime_networks``, stored at the
first export, so that both versions convert the same weights. All files of a network take turns in
one process, on one thread, and are compared by the ratio of the medians of the CPU time of at least
16 runs. ``compare --write`` writes ``benchmarks/results/old_and_new.md``.
"""

from __future__ import annotations

import argparse
import random
import statistics
import time
from pathlib import Path

import numpy as np

NETWORKS = ("ResNet-50", "MobileNetV2", "DeepLabV3")
SIZE = (3, 224, 224)
_ROUNDS = 4
_RUNS = 12
_RESULT = Path(__file__).parents[1] / "results" / "old_and_new.md"


def export(folder: Path, checkpoint: Path) -> None:
    """Write the files of this version: dynamic batch, one sample, one sample for ONNX Runtime."""
    from ssn_prune import convert
    from ssn_prune.conversion import ConvertOptions

    folder.mkdir(parents=True, exist_ok=True)
    forms = {"open": {}, "one sample": {"static_batch": 1}}
    if "target" in ConvertOptions.__dataclass_fields__:
        forms["one sample for ONNX Runtime"] = {"static_batch": 1, "target": "onnxruntime"}
    for name, loaded in _networks(folder.parent, checkpoint):
        for form, options in forms.items():
            path = folder / f"{name}, {form}.onnx"
            convert(loaded, path, ConvertOptions(algebra=False, rounding=False, **options))


def _networks(folder: Path, checkpoint: Path):
    import torch
    from runtime_networks import network_of

    from ssn_prune import load_checkpoint

    yield "ResNet-18", load_checkpoint(checkpoint)
    for name in NETWORKS:
        loaded = network_of(name)
        weights = folder / f"{name}.pth"
        if weights.exists():
            loaded.model.load_state_dict(torch.load(weights, weights_only=True))
        else:
            torch.save(loaded.model.state_dict(), weights)
        yield name, loaded


def compare(old: Path, new: Path, write: bool) -> None:
    """Time the files of both in turns, and print the ratios."""
    import onnx
    import onnxruntime

    how = onnxruntime.SessionOptions()
    how.intra_op_num_threads = 1
    x = np.random.default_rng(0).standard_normal((1, *SIZE)).astype(np.float32)
    rows = []
    for name in ("ResNet-18", *NETWORKS):
        paths = sorted([*old.glob(f"{name},*.onnx"), *new.glob(f"{name},*.onnx")])
        kinds = [path.stem.partition(", ")[2] for path in paths]
        seconds: dict[Path, list[float]] = {path: [] for path in paths}
        ratios: dict[str, list[float]] = {}
        for _ in range(_ROUNDS):
            # New sessions in each round, since their place in memory matters.
            for path in paths:
                seconds[path].clear()
            sessions = {
                path: onnxruntime.InferenceSession(path, how, providers=["CPUExecutionProvider"])
                for path in paths
            }
            for _ in range(_RUNS + 1):
                # The state of the caches depends on what ran before, so the order changes.
                for path in random.sample(paths, len(paths)):
                    session = sessions[path]
                    feed = {session.get_inputs()[0].name: _sized(x, session)}
                    start = time.process_time()
                    session.run(None, feed)
                    seconds[path].append(time.process_time() - start)
            medians = {path: statistics.median(times[1:]) for path, times in seconds.items()}
            for path, kind in zip(paths, kinds, strict=True):
                if path.parent == new:
                    before = old / f"{name}, {kind.removesuffix(' for ONNX Runtime')}.onnx"
                    ratios.setdefault(kind, []).append(medians[path] / medians[before])
        for kind, found in ratios.items():
            nodes = [
                len(onnx.load(folder / f"{name}, {one}.onnx", load_external_data=False).graph.node)
                for folder, one in ((old, kind.removesuffix(" for ONNX Runtime")), (new, kind))
            ]
            middle, low, high = statistics.median(found), min(found), max(found)
            row = f"| {name} | {kind} | {nodes[0]} | {nodes[1]} | {middle:.3f} |"
            rows.append(f"{row} {low:.3f} to {high:.3f} |")
            print(rows[-1], flush=True)
    if write:
        from machine import heading

        columns = ("network", "file", "nodes before", "nodes", "latency", "rounds")
        text = f"| {' | '.join(columns)} |\n|{'---|' * len(columns)}\n"
        how_measured = (
            f"ratio of CPU times, one thread, medians of {_RUNS} runs taking turns, "
            f"{_ROUNDS} rounds"
        )
        title = heading(
            "Portable files, compared with the files before",
            "research/old_and_new.py compare OLD NEW",
            how_measured,
        )
        _RESULT.write_text(title + text + "\n".join(rows) + "\n")


def _sized(x: np.ndarray, session) -> np.ndarray:
    height, width = session.get_inputs()[0].shape[2:]
    return np.ascontiguousarray(x[:, :, :height, :width])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("step", choices=["export", "compare"])
    parser.add_argument("paths", type=Path, nargs=2)
    parser.add_argument("--write", action="store_true", help="write the table")
    options = parser.parse_args()
    if options.step == "export":
        export(*options.paths)
    else:
        compare(*options.paths, options.write)


if __name__ == "__main__":
    main()
