"""How much the choice of statistics and the repairs help after a change of one layer's pair.

    python benchmarks/research/repairs.py CKPT --data SOURCE --test-data SOURCE --mean 0.5 --std 0.5
        [--images 64] [--markdown FILE]

Each layer that is not BN/BN becomes BN/BN alone, then all of them together. The harm is the
Kullback-Leibler divergence from the original's outputs on the test images, in nats:

- stored: with the statistics of the checkpoint;
- replaced: with those of the calibration images instead, in all layers that use BN;
- repaired: as a search does it: stored statistics, shifted as much as the change shifts them, and
  weights and biases fitted to the original's outputs.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

import torch

sys.path.insert(0, str(Path(__file__).parents[1]))
from machine import heading

from ssn_prune import ConvertOptions, load_checkpoint, recalibrate
from ssn_prune.conversion.on_images import open_for
from ssn_prune.costs.records import FREE
from ssn_prune.images.image_set import spread_evenly
from ssn_prune.searching.batches import Batches
from ssn_prune.searching.evaluation import Evaluator, compare
from ssn_prune.searching.selections import Changes, changed_network, pair_of

HOW = ("stored", "replaced", "repaired")
BATCH = 32


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("checkpoint", type=Path)
    parser.add_argument("--data", required=True)
    parser.add_argument("--test-data", required=True)
    parser.add_argument("--mean", type=float, nargs="+")
    parser.add_argument("--std", type=float, nargs="+")
    parser.add_argument("--images", type=int, default=64, help="of each set")
    parser.add_argument("--markdown", type=Path)
    arguments = parser.parse_args()
    loaded = load_checkpoint(arguments.checkpoint)
    how = ConvertOptions(mean=tuple(arguments.mean), std=tuple(arguments.std))
    calibration, test = (
        Batches.of(images, spread_evenly(len(images), arguments.images), BATCH, torch.device("cpu"))
        for images in (
            open_for(loaded, source, how, None) for source in (arguments.data, arguments.test_data)
        )
    )
    evaluator = Evaluator(loaded.model, calibration)
    layers = [n for n, layer in evaluator.layers.originals.items() if pair_of(layer) != FREE]
    candidates: list[Changes] = [((name, FREE),) for name in layers]
    candidates.append(tuple((name, FREE) for name in layers))
    measured = [repairs for _, repairs in evaluator.measure(candidates)]
    rows = []
    for changes, repairs in zip(candidates, measured, strict=True):
        networks = {
            "stored": changed_network(loaded.model, changes, {}),
            "replaced": changed_network(loaded.model, changes, {}),
            "repaired": changed_network(loaded.model, changes, repairs),
        }
        recalibrate(
            networks["replaced"], [calibration.inputs(batch) for batch in range(len(calibration))]
        )
        harms = [
            compare(loaded.model, networks[name], test, lambda: None)[1].harm.mean for name in HOW
        ]
        what = changes[0][0] if len(changes) == 1 else f"all {len(changes)}"
        rows.append(f"| {what} | {' | '.join(f'{harm:.1e}' for harm in harms)} |")
        print(rows[-1], flush=True)
    title = f"Repairs after a change: {arguments.checkpoint.name}"
    setting = f"each layer at BN/BN, {calibration.count} calibration, {test.count} test images"
    text = heading(title, "research/repairs.py", setting)
    text += f"Divergence on the test images, in nats.\n\n| layer | {' | '.join(HOW)} |\n"
    text += "| --- | --- | --- | --- |\n" + "\n".join(rows) + "\n"
    if arguments.markdown is not None:
        arguments.markdown.write_text(text)


if __name__ == "__main__":
    main()
