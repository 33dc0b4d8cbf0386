"""Training speed and memory of ResNet-18 with different norms, compared with BatchNorm2d.

    python benchmarks/training_speed.py [--rounds 15] [--threads 2] [--markdown FILE]

One training step is forward, backward and release of the gradients. The networks take turns within
a round, in an order that rotates from round to round; the table gives the median over rounds of the
time and of the ratio to BatchNorm2d in the same round. The SSN network has all three ratios
non-zero in every gate. The script asserts that input, affine parameters and both gates get
gradients, and that the running statistics are updated. ``selected`` is the SSN network after
``freeze_selected``, with the selection of a ResNet-18 trained with the reference implementation.

Memory is the growth of the peak resident set over three steps, each network in a process of its
own (``--memory``). ``--gates`` times the 310 gates of a ResNet-152 in one call and gate by gate.
"""

from __future__ import annotations

import argparse
import platform
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from datetime import date
from pathlib import Path

import torch
import torchvision
from torch import Tensor, nn

from ssn_prune import SSN2d, convert_to_ssn, freeze_selected, sparsestmax
from ssn_prune.normalizer import Normalizer

SIZES = ((8, 3, 224, 224), (16, 3, 64, 64))
RADIUS = 0.2
# fmt: off
SELECTION = (
    "LN/IN", "IN/IN", "IN/BN", "BN/BN", "IN/BN", "IN/IN", "BN/LN",
    "BN/IN", "BN/IN", "LN/BN", "IN/BN", "BN/IN", "IN/BN", "BN/BN",
    "BN/LN", "BN/LN", "BN/LN", "BN/BN", "IN/BN", "BN/IN",
)
# fmt: on


def batch_norm() -> nn.Module:
    """The network of torchvision."""
    torch.manual_seed(0)
    return torchvision.models.resnet18()


def no_norm() -> nn.Module:
    """The network with every norm replaced by Identity."""
    model = batch_norm()
    for parent in list(model.modules()):
        for name, child in parent.named_children():
            if isinstance(child, nn.BatchNorm2d):
                setattr(parent, name, nn.Identity())
    return model


def ssn() -> nn.Module:
    """SSN in every norm, soft gates with different ratios for mean and variance."""
    model = convert_to_ssn(batch_norm()).model
    with torch.no_grad():
        for layer in layers_of(model):
            layer.mean_weight.copy_(torch.tensor([0.2, 0.1, 0.3]))
            layer.var_weight.copy_(torch.tensor([0.1, 0.3, 0.2]))
            layer.radius.fill_(RADIUS)
    return model


def selected() -> nn.Module:
    """The SSN network with one-hot gates, its layers replaced by the selected normalizers."""
    model = ssn()
    for layer, pair in zip(layers_of(model), SELECTION, strict=True):
        mean, var = (Normalizer[name] for name in pair.split("/"))
        layer.fix(mean, var)
    return freeze_selected(model).model


NETWORKS: dict[str, Callable[[], nn.Module]] = {
    "BatchNorm2d": batch_norm,
    "SSN": ssn,
    "selected": selected,
    "no norm": no_norm,
}


def layers_of(model: nn.Module) -> list[SSN2d]:
    """The SSN layers in the network's order."""
    return [module for module in model.modules() if isinstance(module, SSN2d)]


def step(model: nn.Module, x: Tensor) -> float:
    """One training step; returns its time in seconds."""
    start = time.perf_counter()
    model(x).square().mean().backward()
    model.zero_grad()
    return time.perf_counter() - start


def check(model: nn.Module, size: tuple[int, ...]) -> None:
    """Assert that everything is computed that the comparison claims to compute."""
    x = torch.randn(size, requires_grad=True)
    before = [layer.running_var.clone() for layer in layers_of(model)]
    model(x).square().mean().backward()
    assert x.grad is not None
    assert bool(x.grad.any())
    for layer, old in zip(layers_of(model), before, strict=True):
        assert all(bool((gate > 0).all()) for gate in layer.gates())
        for parameter in (layer.weight, layer.bias, layer.mean_weight, layer.var_weight):
            assert parameter.grad is not None
            assert bool(parameter.grad.any())
        assert not torch.equal(layer.running_var, old)
    model.zero_grad()


def time_steps(size: tuple[int, ...], rounds: int) -> dict[str, list[float]]:
    """Seconds per step for each network, one value per round."""
    models = {name: build() for name, build in NETWORKS.items()}
    check(models["SSN"], size)
    x = torch.randn(size)
    for model in models.values():
        step(model, x)
    times: dict[str, list[float]] = {name: [] for name in models}
    names = list(models)
    for turn in range(rounds):
        shift = turn % len(names)
        for name in names[shift:] + names[:shift]:
            times[name].append(step(models[name], x))
    return times


def peak_growth(name: str, size: tuple[int, ...]) -> float:
    """Growth of the peak resident set over three steps, in MB; Linux only."""
    model, x = NETWORKS[name](), torch.randn(size)
    Path("/proc/self/clear_refs").write_text("5", encoding="ascii")  # forget the peak so far
    before = peak_resident()
    for _ in range(3):
        step(model, x)
    return (peak_resident() - before) / 1024


def peak_resident() -> int:
    """Largest resident set of this process since the peak was forgotten, in KB."""
    status = Path("/proc/self/status").read_text(encoding="ascii")
    return int(status.split("VmHWM:")[1].split()[0])


def peak_in_a_process(name: str, size: tuple[int, ...]) -> float:
    """:func:`peak_growth` in a fresh interpreter."""
    command = [sys.executable, __file__, "--peak", name, "--size", *map(str, size)]
    done = subprocess.run(command, check=True, capture_output=True, text=True)
    return float(done.stdout)


def gate_table() -> str:
    """All gates of a ResNet-152 at once, and one by one."""
    torch.manual_seed(0)
    logits = torch.randn(310, 3)
    at_once, one_by_one = [], []
    for _ in range(9):
        start = time.perf_counter()
        sparsestmax(logits, 0.4)
        middle = time.perf_counter()
        for row in logits:
            sparsestmax(row, 0.4)
        at_once.append(middle - start)
        one_by_one.append(time.perf_counter() - middle)
    ratio = statistics.median(b / a for a, b in zip(at_once, one_by_one, strict=True))
    return (
        f"310 gates through sparsestmax: {statistics.median(at_once) * 1e3:.2f} ms at once, "
        f"{statistics.median(one_by_one) * 1e3:.0f} ms gate by gate, {ratio:.0f} times faster\n"
    )


def table(rounds: int) -> str:
    """The Markdown table."""
    lines = [
        "| input | network | ms per step | ratio to BatchNorm2d (quartiles) |",
        "| --- | --- | --- | --- |",
    ]
    for size in SIZES:
        times = time_steps(size, rounds)
        for name, values in times.items():
            pairs = zip(values, times["BatchNorm2d"], strict=True)
            low, middle, high = statistics.quantiles([a / b for a, b in pairs], n=4)
            lines.append(
                f"| {'x'.join(map(str, size))} | {name} | {statistics.median(values) * 1e3:.0f} | "
                f"{middle:.3f} ({low:.3f} to {high:.3f}) |"
            )
    return "\n".join(lines) + "\n"


def memory_table() -> str:
    """Peak memory, medians of five processes, as Markdown."""
    lines = ["| input | network | peak MB (5 processes) | ratio |", "| --- | --- | --- | --- |"]
    for size in SIZES:
        peaks = {name: [peak_in_a_process(name, size) for _ in range(5)] for name in NETWORKS}
        base = statistics.median(peaks["BatchNorm2d"])
        for name, values in peaks.items():
            middle = statistics.median(values)
            lines.append(
                f"| {'x'.join(map(str, size))} | {name} | {middle:.0f} ({min(values):.0f} to "
                f"{max(values):.0f}) | {middle / base:.3f} |"
            )
    return "\n".join(lines) + "\n"


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=15)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--gates", action="store_true")
    parser.add_argument("--memory", action="store_true")
    parser.add_argument("--markdown", type=Path)
    parser.add_argument("--peak", choices=list(NETWORKS), help=argparse.SUPPRESS)
    parser.add_argument("--size", type=int, nargs=4, help=argparse.SUPPRESS)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    if options.peak:
        print(peak_growth(options.peak, tuple(options.size)))
        return
    head = (
        f"torch {torch.__version__}, {platform.machine()} CPU, {options.threads} threads, "
        f"{date.today()}, medians of {options.rounds} interleaved rounds.\n\n"
    )
    if options.gates:
        text = gate_table()
    else:
        text = memory_table() if options.memory else head + table(options.rounds)
    print(text)
    if options.markdown:
        options.markdown.write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()
