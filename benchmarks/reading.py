"""Time and memory to read a checkpoint, and the outcome for hostile, foreign and damaged files.

    python benchmarks/reading.py [--seeds 12] [--markdown FILE]

Every time is the best of five, of a whole process with the file in the page cache; memory is the
peak of that process. The files and their permitted outcomes are those of ``tests/hostile``.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

from machine import heading

ROOT = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(ROOT / "tests" / "hostile")]
REPEATS = 5
WRITE_NETWORK = """
import sys, torch
from ssn_prune.architectures.registry import find_architecture
from ssn_prune.nn.ssn import SSN
model = find_architecture("resnetv1ssn152", trusted=True).build()
for layer in model.modules():
    if isinstance(layer, SSN):
        for gate in ("mean", "var"):
            getattr(layer, f"{gate}_weight").data.copy_(torch.eye(3)[0])
            getattr(layer, f"{gate}_fixed").fill_(1)
torch.save({"epoch": 99, "state_dict": model.state_dict()}, sys.argv[1])
"""
WRITE_GIGABYTE = """
import sys, torch
from safetensors.torch import save_file
tensors = {f"layer{i}.weight": torch.randn(1 << 22) for i in range(60)}
match sys.argv[2]:
    case "safetensors": save_file(tensors, sys.argv[1])
    case form: torch.save(tensors, sys.argv[1], _use_new_zipfile_serialization=form == "zip")
"""
READ = """
import pathlib, re, sys, time
import torch
from ssn_prune.checkpoint.reader import open_checkpoint
from ssn_prune.checkpoint.tensors import to_torch
from ssn_prune.checkpoint.weights import extract_weights
def memory(field):
    text = pathlib.Path("/proc/self/status").read_text()
    return int(re.search(field + r":\\s+(\\d+)", text)[1]) * 1024
base, start = memory("VmRSS"), time.perf_counter()
with open_checkpoint(pathlib.Path(sys.argv[1])) as file:
    tensors = to_torch(extract_weights(file).tensors)
print(time.perf_counter() - start, memory("VmHWM") - base)
"""


# A process inherits the peak of the one that starts it, so rusage would give the peak of this one.
WITH_PEAK = """
import pathlib, re, sys
from ssn_prune.__main__ import main
try:
    main()
finally:
    text = pathlib.Path("/proc/self/status").read_text()
    print(re.search(r"VmHWM:\\s+(\\d+)", text)[1], file=sys.stderr)
"""


def run(*arguments: str) -> tuple[float, str, str]:
    """Wall time, output and error output of a Python process that must succeed."""
    start = time.perf_counter()
    done = subprocess.run([sys.executable, *arguments], capture_output=True, text=True, check=False)
    if done.returncode:
        raise SystemExit(f"{' '.join(arguments)[:200]} failed:\n{done.stderr[-2000:]}")
    return time.perf_counter() - start, done.stdout, done.stderr


def best(*arguments: str) -> float:
    """The shortest time of several runs after one to warm up."""
    return min(run(*arguments)[0] for _ in range(REPEATS + 1))


def inspecting(folder: Path) -> Iterator[str]:
    """Rows about ``inspect``."""
    path = folder / "network.pth"
    run("-c", WRITE_NETWORK, str(path))
    size = path.stat().st_size
    yield f"`inspect` of resnetv1ssn152, {size / 1e6:.0f} MB, whole process, best of {REPEATS}:"
    yield ""
    yield "| command | s | peak memory, MB |"
    yield "|---|---|---|"
    for options in ((), ("--json",)):
        command = ("inspect", str(path), *options)
        seconds = best("-m", "ssn_prune", *command)
        peak = int(run("-c", WITH_PEAK, *command)[2].split()[-1]) * 1024
        yield f"| {' '.join(('inspect', *options))} | {seconds:.2f} | {peak / 1e6:.0f} |"
    yield f"| (an empty Python process) | {best('-c', 'pass'):.2f} | |"


def reading(folder: Path) -> Iterator[str]:
    """Rows about a gigabyte of weights."""
    yield "A gigabyte of weights into torch tensors, after the imports:"
    yield ""
    yield "| format | file, MB | s | s a GB | memory above the imports / tensors |"
    yield "|---|---|---|---|---|"
    for form in ("zip", "legacy", "safetensors"):
        path = folder / f"gigabyte.{form}"
        run("-c", WRITE_GIGABYTE, str(path), form)
        size = path.stat().st_size
        measured = [run("-c", READ, str(path))[1].split() for _ in range(REPEATS)]
        seconds = min(float(taken) for taken, _ in measured)
        memory = max(int(peak) for _, peak in measured)
        path.unlink()
        yield (
            f"| {form} | {size / 1e6:.0f} | {seconds:.2f} | {seconds / size * 1e9:.2f} "
            f"| {memory / size:.2f} |"
        )


def outcomes(folder: Path, seeds: int) -> Iterator[str]:
    """Rows about hostile, foreign and damaged files."""
    from benign_files import FILES
    from hostile_case import CANARY
    from hostile_corpus import CASES
    from mutations import SEEDS, read_damaged
    from reading_session import ReadingSession
    from zip_assembly import zipped

    path = folder / "net.pth"
    (folder / "sample.pth").write_bytes(zipped())
    groups = {case.name.split(":")[0]: Counter[str]() for case in CASES}
    worst = dict.fromkeys(groups, (0.0, 0))
    with ReadingSession(folder, [folder / "sample.pth"]) as session:
        for case in CASES:
            path.write_bytes(case.content())
            found = session.read(path)
            group = case.name.split(":")[0]
            groups[group][found.kind] += 1
            groups[group]["problems"] += bool(found.problems)
            seconds, memory = worst[group]
            worst[group] = max(seconds, found.seconds), max(memory, found.memory)
        executed = (folder / CANARY).exists()
        benign = Counter(_benign(session.read, write, path) for write in FILES.values())
        damaged: Counter[tuple[str, str]] = Counter()
        faults = 0
        for seed in range(seeds):
            result = read_damaged(session, folder, seed, 1000)
            damaged += result.counts
            faults += len(result.faults)
        restarts = session.restarts
    yield (
        f"{len(CASES)} hostile files; executions: {'SOME' if executed else 'none'}; "
        f"crashes and hangs: {restarts}."
    )
    yield ""
    yield "| kind | files | unsafe | refused | read | problems | longest, s | most memory, MB |"
    yield "|---|---|---|---|---|---|---|---|"
    for group, kinds in groups.items():
        counts = [kinds[kind] for kind in ("unsafe", "refused", "read")]
        shown = " | ".join(map(str, [sum(counts), *counts, kinds["problems"]]))
        seconds, memory = worst[group]
        yield f"| {group} | {shown} | {seconds:.2f} | {memory / 1e6:.0f} |"
    yield ""
    yield f"{len(FILES)} files as other tools write them: {benign['read']} read."
    yield ""
    yield f"{sum(damaged.values())} damaged files, {faults} faults:"
    yield ""
    yield "| format | refused | identical | silent: no checksum |"
    yield "|---|---|---|---|"
    for form in SEEDS:
        kinds = [damaged[form, kind] for kind in ("refused", "identical", "silent")]
        yield f"| {form} | {' | '.join(map(str, kinds))} |"


def _benign(read, write, path: Path) -> str:  # type: ignore[no-untyped-def]
    write(path)
    return str(read(path).kind)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seeds", type=int, default=12)
    parser.add_argument("--markdown", type=Path)
    options = parser.parse_args()
    lines = []
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        for part in (inspecting(folder), reading(folder), outcomes(folder, options.seeds)):
            for line in part:
                print(line, flush=True)
                lines.append(line)
            lines.append("")
    if options.markdown:
        title = heading("Reading checkpoints", "reading.py", f"best of {REPEATS} runs")
        options.markdown.write_text(title + "\n".join(lines))


if __name__ == "__main__":
    main()
