"""Compare our layers with all runs of the reference layers in a file, and print the margins.

Usage: python benchmarks/golden_layers.py OFFICIAL_LAYERS.pt
"""

from __future__ import annotations

import sys
from collections import defaultdict
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "tests" / "support"))

import golden_runs


def main(path: str) -> int:
    runs = golden_runs.load_runs(path)
    rows = defaultdict(list)
    failed = []
    for run in runs:
        for result in golden_runs.compare(run):
            rows[run["kind"], result.name].append((result, golden_runs.label(run)))
            if not result.error <= result.bound:
                failed.append(f"{golden_runs.label(run)}: {result}")

    print(
        f"{'layer':13} {'tensor':17} {'runs':>4} {'error':>9} {'golden':>9} {'ratio':>6}  worst at"
    )
    for (kind, name), found in rows.items():
        worst, where = max(found, key=lambda item: item[0].ratio)
        error = max(result.error for result, _ in found)
        golden = max(result.golden_error for result, _ in found)
        print(
            f"{kind:13} {name:17} {len(found):4} {error:9.1e} {golden:9.1e} "
            f"{worst.ratio:6.3f}  {where}"
        )
    results = [result for found in rows.values() for result, _ in found]
    print(
        f"{len(runs)} runs, {len(results)} tensors compared, worst error/bound "
        f"{max(result.ratio for result in results):.3f}, {len(failed)} above the bound"
    )
    if failed:
        print("\n".join(failed))
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1]))
