"""The file of runs of cifar_accuracy.py: JSON lines, and the tables made from them."""

from __future__ import annotations

import json
import platform
from collections import Counter
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from ssn_prune.normalizer import ALL_PAIRS

Record = dict[str, Any]
_KEY = ("norm", "b", "seed", "epochs", "images", "test_images")


def key(record: Record) -> tuple[Any, ...]:
    """The fields that identify a run."""
    return tuple(record[name] for name in _KEY)


def read(path: Path) -> list[Record]:
    """The records of a file; empty if there is none yet.

    Raises:
        ValueError: A line is not complete, for example after a full disk.
    """
    records = []
    for number, text in enumerate(path.read_text().splitlines() if path.exists() else (), 1):
        try:
            records.append(json.loads(text))
        except json.JSONDecodeError as error:
            raise ValueError(f"{path}, line {number}, is not JSON: remove the line") from error
    return records


def append(path: Path, record: Record) -> None:
    """Add a record as one line."""
    with path.open("a") as file:
        file.write(json.dumps(record) + "\n")


def line(record: Record) -> str:
    """A record as a line of text."""
    changed = record.get("labels_changed")
    return (
        f"seed {record['seed']}, b {record['b']:2}, {record['norm']:3}: "
        f"{record['accuracy']:.1%}, loss {_loss(record)}, {record['seconds']:.0f} s"
        + ("" if changed is None else f", {changed} labels changed by pruning")
    )


def _loss(record: Record) -> str:
    return "not finite" if record["train_loss"] is None else f"{record['train_loss']:.3f}"


def cpu_name() -> str:
    """The model of the processor, as Linux reports it."""
    source = Path("/proc/cpuinfo")
    for text in source.read_text().splitlines() if source.exists() else ():
        name, _, value = text.partition(":")
        if name.strip() == "model name":
            return value.strip()
    return platform.processor() or platform.machine()


def table(records: Sequence[Record]) -> str:
    """Markdown: accuracies and seconds, SSN's selected pairs, and versions and machine.

    Runs of different lengths or data get tables of their own.
    """
    settings = sorted({key(record)[3:] for record in records})
    parts = []
    for setting in settings:
        chosen = [record for record in records if key(record)[3:] == setting]
        parts.append(_setting(chosen))
    return "\n\n".join(parts) or "no runs"


def _setting(records: Sequence[Record]) -> str:
    first = records[0]
    batches = sorted({record["b"] for record in records}, reverse=True)
    norms = list(dict.fromkeys(record["norm"] for record in records))
    count = len({record["seed"] for record in records})
    title = (
        f"{first['epochs']} epochs on {first['images']} images, "
        f"{first['test_images']} test images, {count} seed(s): mean (min..max) over the seeds"
    )
    cells = {
        (n, b): [r for r in records if (r["norm"], r["b"]) == (n, b)]
        for n in norms
        for b in batches
    }
    head = [f"b = {b}" for b in batches]
    accuracy = _rows(
        ["test accuracy, %", *head],
        (
            [norm, *(_spread([100 * r["accuracy"] for r in cells[norm, b]]) for b in batches)]
            for norm in norms
        ),
    )
    seconds = _rows(
        ["seconds per run", *head],
        (
            [norm, *(_spread([r["seconds"] for r in cells[norm, b]], 0) for b in batches)]
            for norm in norms
        ),
    )
    parts = [title, accuracy, seconds]
    sparse = {b: cells.get(("SSN", b), []) for b in batches}
    if any(sparse.values()):
        parts += _sparse(sparse)
    made = {
        (r["cpu"], r["threads"], r["date"], *(f"{n} {v}" for n, v in r["versions"].items()))
        for r in records
    }
    parts.append(
        "\n".join(
            f"{cpu}, {threads} thread(s), {day}: {', '.join(versions)}"
            for cpu, threads, day, *versions in sorted(made)
        )
    )
    return "\n\n".join(parts)


def _sparse(runs: dict[int, list[Record]]) -> list[str]:
    """The pairs that SSN selected, mean/variance, and what pruning changed."""
    counts = {
        b: Counter(p for r in found for p in r["selection"].values()) for b, found in runs.items()
    }
    pairs = _rows(
        ["selected pair (mean/variance), layers", *(f"b = {b}" for b in runs)],
        ([str(pair), *(str(counts[b][str(pair)]) for b in runs)] for pair in ALL_PAIRS),
    )
    found = [record for records in runs.values() for record in records]
    changed = sum(record["labels_changed"] for record in found)
    compared = sum(record["test_images"] for record in found)
    same = sum(record["accuracy_pruned"] == record["accuracy"] for record in found)
    return [
        pairs,
        f"Pruning changed {changed} of {compared} predicted labels; the accuracy is the "
        f"same after it in {same} of {len(found)} runs.",
    ]


def _rows(head: list[str], rows: Iterable[list[str]]) -> str:
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join(f"| {' | '.join(cells)} |" for cells in lines)


def _spread(values: Sequence[float], digits: int = 1) -> str:
    if not values:
        return "-"
    mean, low, high = sum(values) / len(values), min(values), max(values)
    return f"{mean:.{digits}f} ({low:.{digits}f}..{high:.{digits}f})"
