"""Extract the reference layer runs that the tests ship with.

Usage: python tests/support/extract_golden_layers.py OFFICIAL_LAYERS.pt TARGET.pt

It takes, on the smallest map, (4, 3, 2, 2), every pair of normalizers, every radius and SN, in
evaluation and in training; on (2, 6, 1, 4), (1, 8, 7, 7) and (2, 4, 5, 7) a few runs of each mode.
Of several runs with the same description, it takes the last one.
"""

from __future__ import annotations

import sys

import torch

# Per input shape the (mean, var) gates to take; None is all of them.
WANTED: dict[tuple[int, ...], set[tuple[str, str]] | None] = {
    (4, 3, 2, 2): None,
    (2, 6, 1, 4): {("LN", "LN"), ("BN", "IN")},
    (1, 8, 7, 7): {("IN", "BN"), ("LN", "IN"), ("soft", "soft")},
    (2, 4, 5, 7): {("BN", "LN"), ("soft", "soft"), ("softmax", "softmax")},
}


def main(source: str, target: str) -> None:
    chosen = {}
    for run in torch.load(source, weights_only=True):
        shape, gates = tuple(run["x"].shape), (run["mean"], run["var"])
        if shape in WANTED and (WANTED[shape] is None or gates in WANTED[shape]):
            chosen[shape, run["kind"], gates, run["radius"], run["training"]] = _trim(run)
    torch.save(list(chosen.values()), target)
    print(f"{len(chosen)} runs written to {target}")


def _trim(run: dict) -> dict:
    """Keep of the state afterwards only what a training step changes, with compact storages."""
    after = run["state_dict_after"] if run["training"] else {}
    running = {name: after[name] for name in ("running_mean", "running_var") if name in after}
    return _compact({**run, "state_dict_after": running})


def _compact(value):
    if isinstance(value, torch.Tensor):
        return value.detach().clone()
    if isinstance(value, dict):
        return {key: _compact(item) for key, item in value.items()}
    return value


if __name__ == "__main__":
    main(*sys.argv[1:3])
