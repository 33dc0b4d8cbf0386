"""Training speed of ResNet-18 on a GPU with different norms, compared with BatchNorm2d.

    python benchmarks/training_speed_gpu.py [--rounds 15] [--steps 10] [--modes eager]

One step is forward under bfloat16 autocast, backward and release of the gradients; activations are
channels-last. Every mode is timed with CUDA events around several steps; within a mode the
networks take turns, in an order that rotates from round to round, and the ratio is that to
BatchNorm2d in the same round. A CUDA graph replays the same kernels and shows the cost of the step
without the host. The profiler counts the kernels of a step, the time in them, and the calls that
wait for the GPU, of which the script allows none. For single layers see gpu_layers.py.
"""

from __future__ import annotations

import argparse
import itertools
import statistics
import time
from collections.abc import Callable
from datetime import date
from functools import partial
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.autograd import DeviceType
from torch.profiler import ProfilerActivity, profile
from training_speed import NETWORKS, layers_of

SIZES = ((64, 3, 224, 224), (256, 3, 64, 64))
MODES = ("eager", "compiled")
WAITS = ("cudaStreamSynchronize", "cudaEventSynchronize", "aten::item", "aten::_local_scalar_dense")
Run = Callable[[], None]


def training_step(model: nn.Module, x: Tensor) -> None:
    """Forward, backward, and release of the gradients."""
    # Every weight is used once: caching its cast would gain nothing and disturb a capture.
    with torch.autocast("cuda", dtype=torch.bfloat16, cache_enabled=False):
        y = model(x)
    y.float().square().mean().backward()
    model.zero_grad()
    x.grad = None


def captured(run: Run) -> Run:
    """The replay of a step that has been run before; the network must be kept alive."""
    stream = torch.cuda.Stream()
    stream.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(stream):
        for _ in range(3):
            run()
    torch.cuda.current_stream().wait_stream(stream)
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        run()
    return graph.replay


def prepare(model: nn.Module, x: Tensor, *, compiled: bool) -> Run:
    """A step of this network, warmed up."""
    model = model.cuda().to(memory_format=torch.channels_last)
    if compiled:
        model = torch.compile(model, dynamic=False)
    run = partial(training_step, model, x)
    start = time.perf_counter()
    for _ in range(3):
        run()
    torch.cuda.synchronize()
    print(f"  warmed up in {time.perf_counter() - start:.0f} s", flush=True)
    return run


def check(model: nn.Module, x: Tensor, replay: Run) -> None:
    """Assert that a step updates the running statistics of every layer, in float32."""
    before = [layer.running_var.clone() for layer in layers_of(model)]
    replay()
    assert len(before) == 20
    for layer, old in zip(layers_of(model), before, strict=True):
        assert layer.running_var.dtype == torch.float32
        assert bool((layer.running_var != old).all())
        assert bool(layer.running_var.isfinite().all())
        assert all(bool((gate > 0).all()) for gate in layer.gates())
    assert x.is_contiguous(memory_format=torch.channels_last)


def milliseconds(run: Run, steps: int) -> float:
    """Time per step."""
    start, stop = (torch.cuda.Event(enable_timing=True) for _ in range(2))
    start.record()
    for _ in range(steps):
        run()
    stop.record()
    stop.synchronize()
    return start.elapsed_time(stop) / steps


def in_turns(runs: dict[str, Run], rounds: int, steps: int) -> dict[str, list[float]]:
    """Milliseconds per step for each network, one value per round."""
    for run in runs.values():
        milliseconds(run, steps)
    times: dict[str, list[float]] = {name: [] for name in runs}
    names = list(runs)
    for turn in range(rounds):
        shift = turn % len(names)
        for name in names[shift:] + names[:shift]:
            times[name].append(milliseconds(runs[name], steps))
    return times


def time_rows(
    size: tuple[int, ...],
    compiled: bool,
    rounds: int,
    steps: int,
    networks: dict[str, Callable[[], nn.Module]] = NETWORKS,
) -> list[str]:
    """Rows of the table of times: launched by the host, and as CUDA graphs."""
    torch.compiler.reset()
    x = torch.randn(size, device="cuda").to(memory_format=torch.channels_last)
    mode = "compiled" if compiled else "eager"
    runs: dict[str, Run] = {}
    for name, build in networks.items():
        print(f"{size}, {mode}: {name}", flush=True)
        model = build()
        runs[name] = prepare(model, x, compiled=compiled)
        if name == "SSN":
            check(model, x, runs[name])
    kernels = {name: profiled(run) for name, run in runs.items()}
    shown = f"| {'x'.join(map(str, size))} | {mode}"
    rows = []
    for replayed in (False, True):
        timed = {name: captured(run) if replayed else run for name, run in runs.items()}
        times = in_turns(timed, rounds, steps)
        for name, values in times.items():
            pairs = zip(values, times["BatchNorm2d"], strict=True)
            low, middle, high = statistics.quantiles([a / b for a, b in pairs], n=4)
            spent, waits = kernels[name]
            assert waits == 0
            rows.append(
                f"{shown}{', CUDA graph' * replayed} | {name} | {len(spent)} | "
                f"{sum(spent) / 1e3:.2f} | {statistics.median(values):.2f} | "
                f"{middle:.3f} ({low:.3f} to {high:.3f}) |"
            )
    return rows


def profiled(run: Run) -> tuple[list[float], int]:
    """The time in microseconds of every kernel of one call, and how often the host waited."""
    for _ in range(3):
        run()
    torch.cuda.synchronize()
    with profile(
        activities=[ProfilerActivity.CPU, ProfilerActivity.CUDA], acc_events=True
    ) as found:
        run()
        torch.cuda.synchronize()  # a cudaDeviceSynchronize, which is not counted
    events = found.events()
    kernels = [event for event in events if event.device_type == DeviceType.CUDA]
    spent = [event.time_range.elapsed_us() for event in kernels]
    return spent, sum(event.name in WAITS for event in events)


def main() -> None:
    """Measure and print; rows are printed as they come."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=15)
    parser.add_argument("--steps", type=int, default=10, help="steps between two events")
    parser.add_argument("--modes", nargs="+", choices=MODES, default=MODES)
    parser.add_argument("--sizes", nargs="+", type=int, choices=range(len(SIZES)), default=[0, 1])
    parser.add_argument("--markdown", type=Path)
    options = parser.parse_args()
    name = torch.cuda.get_device_name()
    lines = [f"torch {torch.__version__}, {name}, {date.today()}.", ""]
    lines += [
        "| input | mode | network | kernels | ms in them | ms per step | ratio (quartiles) |",
        "| --- | --- | --- | --- | --- | --- | --- |",
    ]
    for index, mode in itertools.product(options.sizes, options.modes):
        lines += time_rows(SIZES[index], mode == "compiled", options.rounds, options.steps)
        torch.cuda.empty_cache()
        print("\n".join(lines), flush=True)
    if options.markdown:
        options.markdown.write_text("\n".join(lines) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
