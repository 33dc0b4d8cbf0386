"""What one layer costs on a GPU: kernels, the time in them, and memory.

    python benchmarks/research/gpu_layers.py [--markdown FILE]

Measures forward and backward of BatchNorm2d, of SSN with soft gates and of one pair after
``freeze_selected``, eager and compiled. Inputs are those that a convolution under bfloat16 autocast
gives, channels-last. Memory is in units of that input: what is kept between forward and backward in
addition to the output, and the peak of both, including the gradient of the output.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable
from datetime import date
from pathlib import Path

import torch
from torch import nn

from ssn_prune import SSN2d, freeze_selected, sparsestmax
from ssn_prune.normalizer import Normalizer

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from training_speed_gpu import profiled

SIZES = (
    (64, 64, 112, 112),
    (64, 128, 28, 28),
    (64, 512, 7, 7),
    (256, 64, 32, 32),
    (256, 512, 2, 2),
)
HEADING = [
    "| input | mode | layer | kernels | us | long ones | us | waits | kept | peak |",
    "| --- | --- | --- | --- | --- | --- | --- | --- | --- | --- |",
]
LONG = 10.0  # microseconds; kernels on (N, C) values take 1 to 6


def soft(channels: int) -> nn.Module:
    """SSN with three non-zero ratios in both gates."""
    layer = SSN2d(channels)
    with torch.no_grad():
        layer.mean_weight.copy_(torch.tensor([0.2, 0.1, 0.3]))
        layer.var_weight.copy_(torch.tensor([0.1, 0.3, 0.2]))
        layer.radius.fill_(0.2)
    return layer


def decided(channels: int) -> nn.Module:
    """A mixed pair."""
    layer = SSN2d(channels)
    layer.fix(Normalizer.IN, Normalizer.BN)
    return freeze_selected(nn.Sequential(layer)).model[0]


KINDS: dict[str, Callable[[int], nn.Module]] = {
    "BatchNorm2d": nn.BatchNorm2d,
    "SSN": soft,
    "IN/BN": decided,
}


def row(name: str, size: tuple[int, ...], *, compiled: bool) -> str:
    """One layer at one size."""
    layer = KINDS[name](size[1]).cuda()
    if compiled:
        torch.compiler.reset()
        layer.compile(dynamic=False)
    x = torch.randn(size, device="cuda", dtype=torch.bfloat16)
    x = x.to(memory_format=torch.channels_last).requires_grad_()
    grad = torch.randn_like(x)

    def run() -> None:
        layer(x).backward(grad)
        layer.zero_grad()
        x.grad = None

    spent, waits = profiled(run)
    unit = x.numel() * x.element_size()
    before = torch.cuda.memory_allocated()
    torch.cuda.reset_peak_memory_stats()
    y = layer(x)
    kept = torch.cuda.memory_allocated() - before - unit
    y.backward(grad)
    peak = torch.cuda.max_memory_allocated() - before + unit
    long = [time for time in spent if time >= LONG]
    mode = "compiled" if compiled else "eager"
    return (
        f"| {'x'.join(map(str, size))} | {mode} | {name} | {len(spent)} | {sum(spent):.0f} | "
        f"{len(long)} | {sum(long):.0f} | {waits} | {kept / unit:.2f} | {peak / unit:.2f} |"
    )


def gates_row() -> str:
    """Forward and backward of the two gates of one layer."""
    logits = torch.tensor([[0.2, 0.1, 0.3], [0.1, 0.3, 0.2]], device="cuda", requires_grad=True)
    radius = torch.full((1,), 0.2, device="cuda")

    def run() -> None:
        ratios = sparsestmax(logits, radius)
        ratios.backward(torch.ones_like(ratios))
        logits.grad = None

    spent, waits = profiled(run)
    return f"| - | eager | two gates | {len(spent)} | {sum(spent):.0f} | 0 | 0 | {waits} | - | - |"


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--markdown", type=Path)
    options = parser.parse_args()
    lines = [
        f"torch {torch.__version__}, {torch.cuda.get_device_name()}, {date.today()}.",
        "",
        *HEADING,
    ]
    for size in SIZES:
        for compiled in (False, True):
            lines += [row(name, size, compiled=compiled) for name in KINDS]
    lines.append(gates_row())
    text = "\n".join(lines) + "\n"
    print(text)
    if options.markdown:
        options.markdown.write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()
