"""Search a checkpoint, and compare the result with simple ways to an equal latency.

    python benchmarks/search.py CKPT --data SOURCE --test-data SOURCE --mean 0.5 --std 0.5
        [--arch NAME] [--max-drop 1] [--finetune-steps 0] [--markdown FILE] [--report FILE.json]
        [--beside OTHER/checkpoint.pth ...]

The result and the baselines are measured on the same test images, which the search never saw, and
as whole files in one run (ONNX Runtime, one thread, batch 1, ratio to the network without norms):

- all BN, stored: BN/BN everywhere with the running statistics of the checkpoint.
- all BN, measured: with statistics measured on the calibration images instead
  (``ssn_prune.recalibrate``).
- all BN, repaired: with the search's own repairs: shifted statistics, fitted weights and biases.
- greedy: the layers in the order of their single harm, each at its cheapest pair, until as much
  latency is saved as in the result; with the same repairs.
- random: the median of ten random selections that save as much within 5 %; with the same repairs.

``--beside`` adds networks of the same architecture that were trained in another way, such as with
``examples/train_classification.py --latency-weight``, named after their folders.
"""

from __future__ import annotations

import argparse
import json
import random
import statistics
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import torch
from machine import heading
from torch import nn

from ssn_prune import (
    ConvertOptions,
    LoadedCheckpoint,
    SearchOptions,
    SearchResult,
    load_checkpoint,
    recalibrate,
)
from ssn_prune.accuracy.metrics import accuracy_of
from ssn_prune.accuracy.paired import paired
from ssn_prune.checkpoint.ordinary import as_switchable
from ssn_prune.conversion.on_images import open_for
from ssn_prune.costs.cache import default_cache
from ssn_prune.costs.measuring import measure_costs
from ssn_prune.costs.records import FREE, Costs
from ssn_prune.example_inputs import example_batches
from ssn_prune.images.image_set import ImageSet
from ssn_prune.json_values import to_json
from ssn_prune.normalizer import NormalizerPair
from ssn_prune.searching.batches import Batches
from ssn_prune.searching.candidates import Alternative, cheaper
from ssn_prune.searching.divergence import floating_outputs
from ssn_prune.searching.evaluation import Evaluator, compare
from ssn_prune.searching.joint import main_accuracy
from ssn_prune.searching.latencies import NORM_FREE, whole_latencies
from ssn_prune.searching.parts import divide
from ssn_prune.searching.results import SearchReport
from ssn_prune.searching.search import images_a_batch, search
from ssn_prune.searching.selections import Changes, Repair, changed_network
from ssn_prune.selection import select

RANDOM = 10


@dataclass(frozen=True)
class Row:
    """A network of the table.

    Attributes:
        name: What it is.
        changed: Layers with another pair.
        ratio: Latency, in units of that without norms; None if it is that of another row.
        accuracy: On the test images.
        drop: Change in points, with its confidence interval.
    """

    name: str
    changed: int
    ratio: float | None
    accuracy: float
    drop: str


def saving(changes: Changes, alternatives: Sequence[Alternative]) -> float:
    by_change = {(one.layer, one.pair): one.saved for one in alternatives}
    return sum(by_change[change] for change in changes)


def greedy(alternatives: Sequence[Alternative], wanted: float) -> Changes:
    """Layers by their least single harm at the cheapest pair, until enough is saved."""
    cheapest: dict[str, Alternative] = {}
    for one in alternatives:
        if one.layer not in cheapest or one.saved > cheapest[one.layer].saved:
            cheapest[one.layer] = one
    chosen: list[Alternative] = []
    for one in sorted(cheapest.values(), key=lambda one: one.harm):
        if sum(other.saved for other in chosen) >= wanted:
            break
        chosen.append(one)
    order = [one.layer for one in alternatives]
    chosen.sort(key=lambda one: order.index(one.layer))
    return tuple((one.layer, one.pair) for one in chosen)


def random_selections(alternatives: Sequence[Alternative], wanted: float) -> list[Changes]:
    """Random selections that save as much, within 5 %."""
    drawn = random.Random(0)
    layers = list(dict.fromkeys(one.layer for one in alternatives))
    found: list[Changes] = []
    for _ in range(200_000):
        changes: list[tuple[str, NormalizerPair]] = []
        for layer in layers:
            own = [one for one in alternatives if one.layer == layer]
            pick = drawn.randrange(len(own) + 1)
            if pick:
                changes.append((layer, own[pick - 1].pair))
        selection = tuple(changes)
        if abs(saving(selection, alternatives) - wanted) <= 0.05 * wanted:
            found.append(selection)
        if len(found) == RANDOM:
            break
    return found


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("checkpoint", type=Path)
    parser.add_argument("--data", required=True)
    parser.add_argument("--test-data", required=True)
    parser.add_argument("--arch")
    parser.add_argument("--mean", type=float, nargs="+")
    parser.add_argument("--std", type=float, nargs="+")
    parser.add_argument("--max-drop", type=float, default=1.0)
    parser.add_argument("--finetune-steps", type=int, default=0)
    parser.add_argument("--search-images", type=int, default=160)
    parser.add_argument("--beside", type=Path, nargs="+", default=[], metavar="CKPT")
    parser.add_argument("--runs", type=int, default=40)
    parser.add_argument("--journal", type=Path)
    parser.add_argument("--markdown", type=Path)
    parser.add_argument("--report", type=Path)
    arguments = parser.parse_args()
    loaded = as_switchable(load_checkpoint(arguments.checkpoint, arch=arguments.arch))
    how = ConvertOptions(
        mean=None if arguments.mean is None else tuple(arguments.mean),
        std=None if arguments.std is None else tuple(arguments.std),
    )
    options = SearchOptions(
        max_drop=arguments.max_drop,
        finetune_steps=arguments.finetune_steps,
        search_images=arguments.search_images,
        runs=arguments.runs,
    )
    images = open_for(loaded, arguments.data, how, None)
    tested = open_for(loaded, arguments.test_data, how, None)
    start = time.monotonic()

    def progress(step: str) -> None:
        print(f"{time.monotonic() - start:6.0f} s {step}", flush=True)

    costs = measure_costs(loaded, cache=default_cache(), progress=progress)
    found = search(
        loaded,
        images,
        test_images=tested,
        costs=costs,
        options=options,
        conversion=how,
        journal=arguments.journal,
        progress=progress,
    )
    seconds = time.monotonic() - start
    report = found.report
    if arguments.report is not None:
        arguments.report.write_text(json.dumps(to_json(report), indent=1) + "\n")
    if select(loaded.model).unconverged:
        how = replace(how, on_unconverged="exact")
    networks, counts = baselines(found, loaded, images, costs)
    present = {layer.name: layer.pair for layer in select(loaded.model).layers}
    for path in arguments.beside:
        other = load_checkpoint(path, arch=arguments.arch).model
        found_pairs = {layer.name: layer.pair for layer in select(other).layers}
        networks[path.parent.name] = other
        counts[path.parent.name] = sum(present[name] != pair for name, pair in found_pairs.items())
    batches = Batches.of(
        tested, range(len(tested)), batch_of(loaded, costs, options.memory), torch.device("cpu")
    )
    timed = {name: model for name, model in networks.items() if not name.startswith("random")}
    times = whole_latencies(loaded, timed, how, options, progress)
    base = times[NORM_FREE].median
    rows = []
    for name, model in networks.items():
        progress(f"testing {name}")
        before, after = compare(loaded.model, model, batches, lambda: None)
        difference = paired(before.results, after.results)
        accuracy = main_accuracy(accuracy_of(after.results))
        drop = f"{after.harm.mean:.2e} (relative)"
        if difference is not None:
            low, high = 100 * difference.lower, 100 * difference.upper
            drop = f"{100 * difference.mean:+.1f} ({low:+.1f} to {high:+.1f})"
        ratio = times[name].median / base if name in times else None
        rows.append(Row(name, counts[name], ratio, accuracy, drop))
    text = table(rows, report, seconds, arguments)
    print(text)
    if arguments.markdown is not None:
        arguments.markdown.write_text(text)


def batch_of(loaded: LoadedCheckpoint, costs: Costs, memory: int) -> int:
    """The number of images in a batch that the search uses."""
    with torch.no_grad():
        outputs = loaded.model(*example_batches(loaded, [2])[0])
    return images_a_batch(costs, memory, floating_outputs(outputs))


def baselines(
    found: SearchResult, loaded: LoadedCheckpoint, images: ImageSet, costs: Costs
) -> tuple[dict[str, nn.Module], dict[str, int]]:
    """The networks of the table and how many of their layers changed."""
    report = found.report
    parts = divide(images, images, report.options.seed, search_images=report.options.search_images)
    size = batch_of(loaded, costs, report.options.memory)
    calibration = Batches.of(images, parts.calibration, size, torch.device("cpu"))
    evaluator = Evaluator(loaded.model, calibration)
    known = {(one.layer, one.after): one for one in report.singles}
    alternatives = [
        replace(one, harm=known[one.layer, one.pair].harm)
        for one in cheaper(select(loaded.model), costs)
    ]
    chosen = report.front[report.chosen].changes
    wanted = sum(change.saved_ms for change in chosen)
    candidates = {"greedy": greedy(alternatives, wanted)}
    layers = list(dict.fromkeys(one.layer for one in alternatives))
    if all((layer, FREE) in known for layer in layers):
        candidates["all BN, repaired"] = tuple((layer, FREE) for layer in layers)
    for index, changes in enumerate(random_selections(alternatives, wanted)):
        candidates[f"random {index}"] = changes
    measured = evaluator.measure(list(candidates.values()))
    networks: dict[str, nn.Module] = {
        "original": loaded.model,
        "search": found.checkpoint.model,
    }
    counts = {"original": 0, "search": len(chosen)}
    for (name, changes), (_, moved) in zip(candidates.items(), measured, strict=True):
        networks[name] = changed_network(loaded.model, changes, moved)
        counts[name] = len(changes)
    if "all BN, repaired" in candidates:
        changes = candidates["all BN, repaired"]
        stored = {name: Repair(evaluator.layers.stored[name], None) for name, _ in changes}
        networks["all BN, stored"] = changed_network(loaded.model, changes, stored)
        again = changed_network(loaded.model, changes, stored)
        recalibrate(again, [calibration.inputs(batch) for batch in range(len(calibration))])
        networks["all BN, measured"] = again
        counts |= dict.fromkeys(("all BN, stored", "all BN, measured"), len(changes))
    return networks, counts


def table(
    rows: Sequence[Row], report: SearchReport, seconds: float, arguments: argparse.Namespace
) -> str:
    drawn = [row for row in rows if row.name.startswith("random")]
    kept = [row for row in rows if not row.name.startswith("random")]
    how = f"accuracy may fall by {report.options.max_drop} points, one thread, batch 1"
    lines = [
        heading(f"Search: {arguments.checkpoint.name}", "search.py", how).rstrip(),
        "",
        "| network | layers changed | latency | test accuracy, % | change (95 % interval) |",
        "| --- | --- | --- | --- | --- |",
    ]
    for row in kept:
        ratio = "" if row.ratio is None else f"{row.ratio:.3f}"
        lines.append(
            f"| {row.name} | {row.changed} | {ratio} | {100 * row.accuracy:.1f} | {row.drop} |"
        )
    if drawn:
        values = [100 * row.accuracy for row in drawn]
        lines.append(
            f"| random, {len(drawn)} times | {statistics.median(r.changed for r in drawn):g} "
            f"| as search | {statistics.median(values):.1f} ({min(values):.1f} to "
            f"{max(values):.1f}) | |"
        )
    images = report.images
    lines += [
        "",
        f"Search: {seconds:.0f} s, {report.candidates} candidates; {images.calibration} images to "
        f"calibrate, {images.search} to search, {images.test} to test. Additive model: "
        f"{100 * (report.additive_error or 0):.2f} % of the network without norms (root mean "
        f"square over {len(report.front)} points).",
        "",
        "| front: layers changed | latency, predicted | measured | harm | drop, points |",
        "| --- | --- | --- | --- | --- |",
    ]
    for index, point in enumerate(report.front):
        mark = " (chosen)" if index == report.chosen else ""
        lines.append(
            f"| {len(point.changes)}{mark} | {point.predicted_ratio:.3f} | {point.ratio:.3f} | "
            f"{point.harm:.1e} | {point.drop:.2f} |"
        )
    if report.finetuned is not None:
        tuned = report.finetuned
        lines.append(
            f"| {len(tuned.changes)}, distilled {report.options.finetune_steps} steps | "
            f"{tuned.predicted_ratio:.3f} | {tuned.ratio:.3f} | {tuned.harm:.1e} | "
            f"{tuned.drop:.2f} |"
        )
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    main()
