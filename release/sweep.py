"""Every architecture of a library, resuming where an earlier sweep stopped.

    python release/sweep.py torchvision|timm FILE

Fails unless every network ends with OK or for a reason that lies in the network itself: it has no
norm to swap, or needs other inputs than images.
"""

from __future__ import annotations

import subprocess
import sys
from collections import Counter
from pathlib import Path

SWEEP = Path(__file__).resolve().parents[1] / "tests" / "sweep"
sys.path.insert(0, str(SWEEP))

from sweep_outcome import Reason, read_outcomes  # noqa: E402

GOOD = {Reason.OK, Reason.NO_NORM, Reason.NEEDS_DATA}


def main() -> None:
    """Run what is missing, then judge all outcomes."""
    library, file = sys.argv[1], Path(sys.argv[2])
    script = str(SWEEP / "sweep_architectures.py")
    subprocess.run([sys.executable, script, f"--{library}", "--resume", str(file)], check=True)
    outcomes = [o for o in read_outcomes(file).values() if o.name.startswith(f"{library}:")]
    for outcome in outcomes:
        if outcome.reason not in GOOD:
            print(f"{outcome.name}: {outcome.reason}: {outcome.detail}")
    counts = Counter(outcome.reason.value for outcome in outcomes)
    print(", ".join(f"{count} {reason}" for reason, count in counts.most_common()))
    sys.exit(any(outcome.reason not in GOOD for outcome in outcomes) or not outcomes)


if __name__ == "__main__":
    main()
