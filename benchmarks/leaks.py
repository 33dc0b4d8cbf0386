"""What many conversions leave behind in one process.

    python benchmarks/leaks.py [--conversions N] [--markdown FILE]

Small networks are converted by the library, one after another, each a new one. Every row is taken
after Python's garbage collector has run:

- resident, MB: resident memory of the process;
- of ours: live objects of a class of ssn_prune, or of the networks that were converted, in addition
  to those of the first row, which are the package's tables;
- descriptors, threads, temporary files: those of the process, threads of libraries included;
- generated code, shape environments: what torch keeps. For tracebacks, it keeps the Python code of
  its traced graphs in ``linecache``. It also keeps the last sizes that it has reasoned about, in a
  cache of fixed size (``ShapeEnv._inner_evaluate_expr``).
"""

from __future__ import annotations

import argparse
import gc
import linecache
import os
import re
import tempfile
import threading
import time
from pathlib import Path

import torch
from machine import heading
from torch import Tensor, nn

from ssn_prune import SSN2d, convert
from ssn_prune.checkpoint.loading import LoadedCheckpoint
from ssn_prune.checkpoint.source import Source

ROWS = 10
WARM_UP = 5
"""Conversions before the first row: they import what torch imports late."""
COLUMNS = (
    "conversions",
    "resident, MB",
    "of ours",
    "descriptors",
    "threads",
    "temporary files",
    "generated code",
    "shape environments",
)


class Small(nn.Module):
    """conv, SSN, ReLU, conv, SSN, pool, linear over (N, 1, 8, 8)."""

    def __init__(self, seed: int) -> None:
        super().__init__()
        torch.manual_seed(seed)
        self.conv1, self.conv2 = nn.Conv2d(1, 4, 3), nn.Conv2d(4, 4, 3)
        self.norm1, self.norm2 = SSN2d(4), SSN2d(4)
        self.fc = nn.Linear(4, 3)
        for layer, entry in ((self.norm1, seed % 3), (self.norm2, 2)):
            with torch.no_grad():
                layer.mean_weight.copy_(torch.eye(3)[entry])
                layer.var_weight.copy_(torch.eye(3)[2])
                layer.mean_fixed.fill_(1)
                layer.var_fixed.fill_(1)

    def forward(self, x: Tensor) -> Tensor:
        """Three numbers for each sample."""
        x = torch.relu(self.norm1(self.conv1(x)))
        return self.fc(self.norm2(self.conv2(x)).mean((2, 3)))


def convert_one(seed: int, folder: Path) -> None:
    source = Source("c.pth", "0" * 64, "zip", None, (), "", 0, "small", {}, {})
    loaded = LoadedCheckpoint(Small(seed), (1, 8, 8), source)
    convert(loaded, folder / "model.onnx", force=True)


def _is_ours(kind: type) -> bool:
    return str(kind.__module__).startswith("ssn_prune") or kind is Small


def row(conversions: int, tables: int) -> dict[str, int | str]:
    gc.collect()
    kinds = [type(item) for item in gc.get_objects()]
    status = Path("/proc/self/status").read_text()
    resident, threads = (
        int(re.search(rf"{name}:\s+(\d+)", status)[1])  # type: ignore[index]  # Linux has both
        for name in ("VmRSS", "Threads")
    )
    return dict(
        zip(
            COLUMNS,
            (
                conversions,
                f"{resident / 1024:.1f}",
                sum(map(_is_ours, kinds)) - tables,
                len(os.listdir("/proc/self/fd")) - 1,
                f"{threads} ({threading.active_count()} of Python)",
                len(os.listdir(tempfile.gettempdir())),
                len(linecache.cache),
                sum(kind.__name__ == "ShapeEnv" for kind in kinds),
            ),
            strict=True,
        )
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--conversions", type=int, default=500)
    parser.add_argument("--markdown", type=Path)
    options = parser.parse_args()
    lines = [f"| {' | '.join(COLUMNS)} |", "|" + "---|" * len(COLUMNS)]
    rows = []
    with tempfile.TemporaryDirectory() as target, tempfile.TemporaryDirectory() as temporary:
        tempfile.tempdir = temporary  # other processes write to the machine's
        for seed in range(WARM_UP):
            convert_one(seed, Path(target))
        gc.collect()
        tables = sum(_is_ours(type(item)) for item in gc.get_objects())
        start = time.perf_counter()
        step = max(1, options.conversions // ROWS)
        for done in range(options.conversions + 1):
            if done % step == 0 or done == options.conversions:
                rows.append(row(done, tables))
                lines.append(f"| {' | '.join(map(str, rows[-1].values()))} |")
                print(lines[-1], flush=True)
            if done < options.conversions:
                convert_one(WARM_UP + done, Path(target))
        seconds = (time.perf_counter() - start) / options.conversions
        tempfile.tempdir = None
    middle = rows[len(rows) // 2]
    grown = float(rows[-1]["resident, MB"]) - float(middle["resident, MB"])
    count = int(rows[-1]["conversions"]) - int(middle["conversions"])
    lines += [
        "",
        f"The second half adds {1024 * grown / count:.0f} KB of resident memory a conversion, none "
        f"of it objects of ours. A conversion takes {seconds:.1f} s.",
    ]
    print(lines[-1])
    if options.markdown:
        how = f"{options.conversions} conversions in one process, after {WARM_UP} others"
        title = heading("What conversions leave in a process", "leaks.py", how)
        options.markdown.write_text(title + "\n".join(lines) + "\n")


if __name__ == "__main__":
    main()
