"""How well the sum of measured costs predicts whole networks, and how long measuring takes.

    python benchmarks/costs.py [--runs 100] [--selections 6] [--markdown FILE] CHECKPOINT|NAME ...

NAME is a network of torchvision, such as ``mobilenet_v2``, at 3x224x224; it gets SSN layers and
keeps its initial weights. For each network, the costs of all pairs at all layers are measured with
an empty cache and with a full one, in CPU seconds. Then whole files take turns in one run: with
random pairs in every layer, and with BN/BN in all layers but some, as after a search. The error is
that of the predicted latency, in percent of the latency without norms. A prediction adds to the
latency of the network with BN/BN in every layer, measured in the same run.
"""

from __future__ import annotations

import argparse
import os
import random
import tempfile
from dataclasses import dataclass
from pathlib import Path

import torch
from machine import heading
from torch import nn
from torchvision import models
from whole_networks import AdditiveError, Pairs, additive_error

from ssn_prune import CostOptions, Costs, convert_to_ssn, load_checkpoint, measure_network_costs
from ssn_prune.costs.records import FREE

SIZE = (3, 224, 224)


@dataclass(frozen=True)
class Network:
    """A network to measure."""

    name: str
    model: nn.Module
    size: tuple[int, ...]


def network_of(given: str) -> Network:
    """A checkpoint's network, or one of torchvision."""
    if Path(given).exists():
        loaded = load_checkpoint(given)
        return Network(loaded.source.file_name, loaded.model, loaded.input_size or SIZE)
    torch.manual_seed(0)
    return Network(given, convert_to_ssn(models.get_model(given)).model, SIZE)


def worked() -> float:
    """CPU seconds of this process and of those that it has waited for."""
    return sum(os.times()[:4])


def selections(costs: Costs, kept: float, count: int, seed: int) -> list[Pairs]:
    """Random pairs in a share of the layers, BN/BN in the others."""
    choice = random.Random(seed)
    return [
        {
            entry.layer: choice.choice(costs.pairs(entry.layer)) if choice.random() < kept else FREE
            for entry in costs.shapes
        }
        for _ in range(count)
    ]


def row(name: str, error: AdditiveError, first: int, count: int) -> str:
    """Errors of one kind of selections; the first selection of all is BN/BN everywhere."""
    base = error.selections[0]
    chosen = error.selections[first : first + count]
    offset = base.predicted_ms - base.measured_ms
    unit = 100 / error.norm_free_ms
    added = [(s.measured_ms - base.measured_ms) * unit for s in chosen]
    off = [(s.predicted_ms - s.measured_ms - offset) * unit for s in chosen]
    mean = sum(map(abs, off)) / len(off)
    return (
        f"| {name} | {min(added):.1f} to {max(added):.1f} % | {sum(off) / len(off):+.1f} % "
        f"| {mean:.1f} % | {max(off, key=abs):+.1f} % |"
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("networks", nargs="+", metavar="CHECKPOINT|NAME")
    parser.add_argument("--runs", type=int, default=100)
    parser.add_argument("--selections", type=int, default=6, help="of each of the two kinds")
    parser.add_argument("--markdown", type=Path)
    args = parser.parse_args()
    options, count = CostOptions(runs=args.runs), args.selections
    took, rows = [], []
    for given in args.networks:
        network = network_of(given)
        model = network.model.eval()
        seconds = []
        with tempfile.TemporaryDirectory() as folder:
            for _ in range(2):
                start = worked()
                costs = measure_network_costs(
                    model, (torch.randn(1, *network.size),), cache=Path(folder)
                )
                seconds.append(worked() - start)
            places = len(list(Path(folder).iterdir()))
        took.append(
            f"| {network.name} | {len(costs.shapes)} | {places} | {seconds[0]:.0f} s "
            f"| {seconds[1]:.0f} s | {costs.norm_free_ms:.1f} ms |"
        )
        print(took[-1])
        if not count:
            continue
        free = dict.fromkeys((entry.layer for entry in costs.shapes), FREE)
        chosen = [free, *selections(costs, 1.0, count, 0), *selections(costs, 0.25, count, 1)]
        inputs = (torch.randn(2, *network.size),)
        error = additive_error(model, inputs, costs, chosen, options, progress=print)
        rows.append(row(f"{network.name}, all layers", error, 1, count))
        rows.append(row(f"{network.name}, a quarter of the layers", error, 1 + count, count))
        print(*rows[-2:], sep="\n")
    text = "\n".join(
        [
            heading(
                "Measured costs", "costs.py", f"one thread, one sample, {args.runs} runs in turns"
            ),
            "| network | layers | places | first time | from the cache | without norms |",
            "|---|---|---|---|---|---|",
            *took,
            "",
        ]
    )
    if rows:
        text += "\n".join(
            [
                f"\nWhole files with {count} random selections each, in percent of the latency",
                "without norms: what they add to that of BN/BN everywhere, and how far predictions",
                "are off.\n",
                "| pairs in | added latency | mean error | its mean size | largest |",
                "|---|---|---|---|---|",
                *rows,
                "",
            ]
        )
    print(text)
    if args.markdown is not None:
        args.markdown.write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()
