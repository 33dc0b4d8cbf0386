"""Search the networks that cifar_accuracy.py trained: accuracy before and after, and latency.

    python benchmarks/research/cifar_search.py TRAIN.zip TEST.zip --runs runs.jsonl
        --weights FOLDER --out searches.jsonl
    python benchmarks/research/cifar_search.py --table searches.jsonl

Each network with SN or SSN is searched by ``ssn_prune.search``, with its default bound of half a
point. It calibrates and searches with 1,000 images of the archive that no training has seen, those
that follow the training's in each class; the accuracy is that on the test images. Latencies are
those of ONNX Runtime, one thread, batch 1, as ratios to the same network without norms. Every
finished search is appended to the file, and searches that the file has are skipped.
"""

from __future__ import annotations

import argparse
import platform
import time
from collections.abc import Sequence
from datetime import date
from pathlib import Path
from typing import Any

import cifar_runs
import torch
from cifar_accuracy import NORMS, SmallResNet
from cifar_data import CLASSES, Images, Normalization, read_images

from ssn_prune import ConvertOptions, SearchOptions, __version__, load_checkpoint, search
from ssn_prune.images.image_arrays import image_arrays
from ssn_prune.images.image_set import ImageSet

INPUT = (3, 32, 32)
UNSEEN = 1000


def network(norm: str) -> SmallResNet:
    """The network with that kind of layers, for ``load_checkpoint``."""
    return SmallResNet(NORMS[norm])


def unseen(archive: Path, trained: int) -> Images:
    """The images that follow the training's in each class."""
    both = read_images(archive, trained + UNSEEN)
    share, more = trained // CLASSES, UNSEEN // CLASSES
    rows = torch.arange(len(both)).view(CLASSES, share + more)[:, share:].flatten()
    return Images(both.pixels[rows], both.labels[rows])


def opened(name: str, images: Images, normalize: Normalization) -> ImageSet:
    arrays = (normalize(images.pixels),)
    return image_arrays(name, arrays, images.labels, None, [INPUT])


def searched(record: dict[str, Any], weights: Path, data: ImageSet, test: ImageSet) -> dict:
    """Search one network."""
    start = time.perf_counter()
    name = f"{record['norm'].replace(' ', '_')}-b{record['b']}-seed{record['seed']}.pth"
    loaded = load_checkpoint(
        weights / name,
        arch="cifar_search:network",
        arch_args={"norm": record["norm"]},
        input_size=INPUT,
    )
    how = ConvertOptions(on_unconverged="exact" if record["norm"] == "SN" else "error")
    options = SearchOptions(search_images=UNSEEN)
    report = search(loaded, data, test_images=test, options=options, conversion=how).report
    original, chosen, test_result = report.front[0], report.front[report.chosen], report.test
    difference = test_result.difference
    assert difference is not None
    return {
        **{key: record[key] for key in ("norm", "b", "seed", "epochs", "images", "test_images")},
        "accuracy": record["accuracy"],
        "accuracy_pruned": record.get("accuracy_pruned"),
        "accuracy_searched": test_result.chosen.top1,
        "difference": [difference.lower, difference.mean, difference.upper],
        "ratio": original.ratio,
        "ratio_searched": chosen.ratio,
        "changed": len(chosen.changes),
        "layers": report.layers,
        "seconds": round(time.perf_counter() - start, 1),
        "versions": {
            "ssn_prune": __version__,
            "torch": torch.__version__,
            "python": platform.python_version(),
        },
        "cpu": cifar_runs.cpu_name(),
        "date": date.today().isoformat(),
    }


def table(records: Sequence[dict[str, Any]]) -> str:
    """Markdown, a row for each network."""
    lines = [
        "| trained with | seed | accuracy, % | pruned | searched | change (95 % interval) | "
        "layers changed | latency | searched |",
        "| --- " * 9 + "|",
    ]
    for record in records:
        low, mean, high = (100 * value for value in record["difference"])
        pruned = record["accuracy_pruned"]
        lines.append(
            f"| {record['norm']}, b = {record['b']} | {record['seed']} "
            f"| {100 * record['accuracy']:.1f} | {'' if pruned is None else f'{100 * pruned:.1f}'} "
            f"| {100 * record['accuracy_searched']:.1f} | {mean:+.1f} ({low:+.1f} to {high:+.1f}) "
            f"| {record['changed']} of {record['layers']} | {record['ratio']:.2f} "
            f"| {record['ratio_searched']:.2f} |"
        )
    made = {(r["cpu"], r["date"], *(f"{n} {v}" for n, v in r["versions"].items())) for r in records}
    return "\n".join([*lines, "", *(", ".join(one) for one in sorted(made))])


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("train", type=Path, nargs="?")
    parser.add_argument("test", type=Path, nargs="?")
    parser.add_argument("--table", type=Path, metavar="SEARCHES", help="print a table of them")
    parser.add_argument("--runs", type=Path, help="the file of cifar_accuracy.py")
    parser.add_argument("--weights", type=Path, help="its folder of networks")
    parser.add_argument("--out", type=Path, help="JSON lines, one per search; appended to")
    arguments = parser.parse_args()
    if arguments.table is not None:
        print(table(cifar_runs.read(arguments.table)))
        return
    if None in (arguments.test, arguments.runs, arguments.weights, arguments.out):
        parser.error("give both archives, --runs, --weights and --out, or --table")
    finished = {cifar_runs.key(record) for record in cifar_runs.read(arguments.out)}
    for record in cifar_runs.read(arguments.runs):
        gated = record["norm"] in ("SN", "SSN", "SSN late")
        if not gated or cifar_runs.key(record) in finished:
            continue
        normalize = Normalization(read_images(arguments.train, record["images"]))
        data = opened("unseen", unseen(arguments.train, record["images"]), normalize)
        test = opened("test", read_images(arguments.test, record["test_images"]), normalize)
        found = searched(record, arguments.weights, data, test)
        cifar_runs.append(arguments.out, found)
        print(table([found]), flush=True)


if __name__ == "__main__":
    main()
