"""Lower a converted network with torch alone: load the program and compile it.

    ssn-prune convert model.pth -o model.pt2
    python examples/compile_program.py model.pt2

Nothing of ssn_prune is imported. Loading a .pt2 file can execute code in it: only open your own.
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Callable

import torch
from torch import Tensor


def milliseconds(network: Callable[..., object], inputs: tuple[Tensor, ...], runs: int) -> float:
    """Median time of one call."""
    times = []
    for _ in range(runs):
        start = time.perf_counter()
        network(*inputs)
        times.append(1e3 * (time.perf_counter() - start))
    return statistics.median(times)


def main() -> None:
    """Load, compile, compare, time."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("program", help="A .pt2 file.")
    parser.add_argument("--backend", default="inductor", help="A backend of torch.compile.")
    parser.add_argument("--runs", type=int, default=20)
    options = parser.parse_args()

    program = torch.export.load(options.program)
    network = program.module()
    inputs, _ = program.example_inputs  # zeros of the right sizes
    inputs = tuple(torch.randn_like(x) if x.is_floating_point() else x for x in inputs)
    with torch.no_grad():
        compiled = torch.compile(network, backend=options.backend)
        expected, found = network(*inputs), compiled(*inputs)
        for value, wanted in zip(found, expected, strict=True):
            torch.testing.assert_close(value, wanted, rtol=1e-4, atol=1e-5)
        before = milliseconds(network, inputs, options.runs)
        after = milliseconds(compiled, inputs, options.runs)
    print(f"the program {before:.2f} ms, compiled with {options.backend} {after:.2f} ms")


if __name__ == "__main__":
    main()
