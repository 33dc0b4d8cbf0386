"""Probes for another device: a folder with ONNX files, a manifest, and a program to time them."""

from __future__ import annotations

import json
import os
import secrets
import shutil
from pathlib import Path
from typing import Any

from ssn_prune.checkpoint.loading import LoadedCheckpoint
from ssn_prune.costs import run
from ssn_prune.costs.measuring import shapes_of
from ssn_prune.costs.places import Place, PlacedLayer, find_layers, input_sizes, pairs_by_place
from ssn_prune.costs.probe_files import export_places, export_without_norms, in_parts
from ssn_prune.costs.records import SCHEMA_VERSION, CostOptions
from ssn_prune.errors import OutputError
from ssn_prune.example_inputs import example_batches
from ssn_prune.files import write_errors
from ssn_prune.json_values import to_json
from ssn_prune.progress import Progress, no_progress
from ssn_prune.surgery.from_reference import adopt_layers
from ssn_prune.surgery.guest import guest

MANIFEST, RUNNER, NORM_FREE = "manifest.json", "run.py", "norm-free.onnx"


@guest()
def emit_probes(
    loaded: LoadedCheckpoint,
    folder: Path,
    options: CostOptions | None = None,
    *,
    progress: Progress = no_progress,
) -> int:
    """Write what another device needs to measure the costs of a network; all of it or nothing.

    Args:
        loaded: The checkpoint; not changed. The values of its weights do not matter; only those of
            the network without norms are written.
        folder: A folder that does not exist yet, or is empty.
        options: The batch size, and the runtime that the files are for.
        progress: Called with the name of each step before it starts.

    Returns:
        The number of probes.

    Raises:
        OutputError: The folder cannot be written, or it is not empty.
        SsnPruneError: The network cannot be run, or probes cannot be exported.
    """
    options = options or CostOptions()
    target = Path(os.path.realpath(folder))
    _require_empty(target)
    progress("finding the layers")
    inputs = example_batches(loaded, [options.batch])[0]
    adopted = adopt_layers(loaded.model).eval()
    layers = find_layers(adopted, inputs)
    own = target.parent / f".ssn_prune.{secrets.token_hex(8)}.tmp"
    try:
        with write_errors(target):
            own.mkdir()
            files = _written(layers, own, options, progress)
            progress("exporting the network without norms")
            free = export_without_norms(adopted, inputs, own / NORM_FREE, options)
            sizes = list(map(list, input_sizes(inputs)))
            manifest = _manifest(layers, files, sizes, options, NORM_FREE if free else None)
            (own / MANIFEST).write_text(json.dumps(manifest, indent=1), encoding="utf-8")
            shutil.copyfile(run.__file__, own / RUNNER)
            own.replace(target)
    finally:
        shutil.rmtree(own, ignore_errors=True)
    return sum(map(len, files.values()))


def _require_empty(folder: Path) -> None:
    with write_errors(folder):
        if not folder.exists() or (folder.is_dir() and not any(folder.iterdir())):
            return
    raise OutputError(
        f"{folder} exists already",
        expected="a folder that does not exist yet, or an empty one",
        found="a folder with files in it" if folder.is_dir() else "a file",
        hint="name another folder",
    )


def _written(
    layers: tuple[PlacedLayer, ...], folder: Path, options: CostOptions, progress: Progress
) -> dict[Place, dict[str, str]]:
    """File names by pair, for each place."""
    names: dict[Place, dict[str, str]] = {}
    for part in in_parts(pairs_by_place(layers)):
        inner = folder / "part"
        inner.mkdir()
        progress(f"exporting {sum(map(len, part.values()))} probes of {len(part)} places")
        made = export_places(part, inner, target=options.target, static=options.static)
        for place, files in made.items():
            number, names[place] = len(names), {}
            for pair, path in files.items():
                name = f"place{number}-{pair.mean.name}-{pair.var.name}.onnx".lower()
                path.replace(folder / name)
                names[place][str(pair)] = name
        inner.rmdir()
    return names


def _manifest(
    layers: tuple[PlacedLayer, ...],
    files: dict[Place, dict[str, str]],
    sizes: list[list[int]],
    options: CostOptions,
    norm_free: str | None,
) -> dict[str, Any]:
    index = {place: number for number, place in enumerate(files)}
    return {
        "costs": {
            "schema_version": SCHEMA_VERSION,
            "batch": options.batch,
            "target": options.target,
            "input_sizes": sizes,
            "shapes": to_json(shapes_of(layers)),
        },
        "norm_free": norm_free,
        "places": [{"batch": place.batch, "files": names} for place, names in files.items()],
        "layers": [
            {
                "layer": layer.name,
                "pairs": list(map(str, layer.pairs)),
                "places": [index[place] for place in layer.places],
            }
            for layer in layers
        ],
    }
