"""Extract the reference gates that the tests ship with.

Usage: python tests/support/extract_golden_gates.py OFFICIAL_GATES.pt TARGET.csv

It takes the gates that leave the simplex, those that differ from the definition or from float64 by
more than 1e-6, those next to a vertex, and every 40th of the others. A line has three logits, the
radius and three ratios.
"""

from __future__ import annotations

import csv
import sys

import torch

from ssn_prune.nn.reference_gate import reference_gate
from ssn_prune.nn.single_gate import solve_gate

STEP, TOLERANCE = 40, 1e-6


def main(source: str, target: str) -> None:
    golden = torch.load(source, weights_only=True)
    rows = zip(*(golden[name].tolist() for name in ("logits", "radius", "ratios")), strict=True)
    kept = [row for index, row in enumerate(rows) if index % STEP == 0 or _is_odd(*row)]
    with open(target, "w", encoding="utf-8", newline="") as file:
        csv.writer(file, lineterminator="\n").writerows([*z, r, *p] for z, r, p in kept)
    print(f"{len(kept)} gates written to {target}")


def _is_odd(logits: list[float], radius: float, ratios: list[float]) -> bool:
    if 0 < 1 - max(ratios) <= TOLERANCE:
        return True
    others = solve_gate(logits, radius).ratios, reference_gate(logits, radius, float64=True)
    return any(
        not abs(a - b) <= TOLERANCE for other in others for a, b in zip(ratios, other, strict=True)
    )


if __name__ == "__main__":
    main(*sys.argv[1:3])
