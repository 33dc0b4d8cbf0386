"""All measurements on a GPU in one go, from the repository and without installing it.

    PYTHONPATH=. python benchmarks/gpu.py --out FOLDER [--sections NAME ...] [--seconds 480]

Every section writes a Markdown file into the folder as it ends, and is skipped if that file exists,
so an interrupted run can be resumed. Sections that would start after ``--seconds`` are left for the
next run. The tables are put together by hand in results/training_speed_gpu.md.
"""

from __future__ import annotations

import argparse
import os
import shutil
import subprocess
import sys
import time
import traceback
from collections.abc import Callable, Iterator
from datetime import date
from functools import partial
from pathlib import Path

import torch
import triton

sys.path.append(str(Path(__file__).resolve().parent / "research"))
sys.path.append(str(Path(__file__).resolve().parents[1] / "tests" / "support"))

import gpu_agreement
import gpu_layers
import training_speed_gpu as training
from guard_bands import guarded_memory
from training_speed import NETWORKS, batch_norm
from written_anew import with_written_anew

STEP_HEADING = [
    "| input | mode | network | kernels | ms in them | ms per step | ratio (quartiles) |",
    "| --- | --- | --- | --- | --- | --- | --- |",
]
GUARDED = ((3, 64, 9, 7), (2, 130, 28, 28), (5, 24, 1, 2), (4, 3, 65, 63))


def steps(size: int, *, compiled: bool, names: tuple[str, ...]) -> Iterator[str]:
    """Training steps of ResNet-18, see training_speed_gpu.py."""
    yield from STEP_HEADING
    chosen = {name: NETWORKS[name] for name in names}
    yield from training.time_rows(training.SIZES[size], compiled, 9, 10, chosen)


def written_anew(size: int) -> Iterator[str]:
    """The reference layer's code; it waits for the device, so it has no CUDA graph."""
    x = torch.randn(training.SIZES[size], device="cuda").to(memory_format=torch.channels_last)
    runs = {
        "BatchNorm2d": training.prepare(batch_norm(), x, compiled=False),
        "written anew": training.prepare(with_written_anew(batch_norm()), x, compiled=False),
    }
    times = training.in_turns(runs, 5, 3)
    theirs, ours = (sorted(times[name])[2] for name in ("BatchNorm2d", "written anew"))
    kernels, waits = training.profiled(runs["written anew"])
    yield "| input | ms per step | ratio | kernels | ms in them | waits |"
    yield "| --- | --- | --- | --- | --- | --- |"
    yield (
        f"| {'x'.join(map(str, training.SIZES[size]))} | {ours:.1f} | {ours / theirs:.2f} | "
        f"{len(kernels)} | {sum(kernels) / 1e3:.2f} | {waits} |"
    )


def memory() -> Iterator[str]:
    """Peak memory of a training step of ResNet-18."""
    yield "| input | network | MB at the peak | ratio |"
    yield "| --- | --- | --- | --- |"
    for size in training.SIZES:
        x = torch.randn(size, device="cuda").to(memory_format=torch.channels_last)
        peaks = {}
        for name in ("BatchNorm2d", "SSN", "selected"):
            run = training.prepare(NETWORKS[name](), x, compiled=False)
            torch.cuda.synchronize()
            torch.cuda.reset_peak_memory_stats()
            run()
            torch.cuda.synchronize()
            peaks[name] = torch.cuda.max_memory_allocated() / 2**20
            ratio = peaks[name] / peaks["BatchNorm2d"]
            yield f"| {'x'.join(map(str, size))} | {name} | {peaks[name]:.0f} | {ratio:.3f} |"
            del run
            torch.cuda.empty_cache()


def layers() -> Iterator[str]:
    """Single layers in eager mode, see research/gpu_layers.py."""
    yield from gpu_layers.HEADING
    for size in gpu_layers.SIZES:
        for name in gpu_layers.KINDS:
            yield gpu_layers.row(name, size, compiled=False)


def agreement() -> Iterator[str]:
    """Errors against the CPU in float64, see research/gpu_agreement.py."""
    yield from gpu_agreement.HEADING
    yield from gpu_agreement.agreement(few=True)


def guard_bands() -> Iterator[str]:
    """Memory around every tensor is neither read nor written; everything inside is written."""
    yield "| input | dtype | layout | guarded tensors | bands | finite |"
    yield "| --- | --- | --- | --- | --- | --- |"
    for shape in GUARDED:
        for dtype in (torch.float32, torch.bfloat16):
            for layout in (torch.contiguous_format, torch.channels_last):
                layer = gpu_agreement.trained(gpu_layers.SSN2d(shape[1])).cuda()
                x = gpu_agreement.draw(shape).cuda().to(dtype).to(memory_format=layout)
                with guarded_memory() as guard:
                    inner = guard.around(x).requires_grad_()
                    y = layer(inner)
                    y.backward(guard.around(torch.randn_like(x)))
                    torch.cuda.synchronize()
                    guard.assert_untouched()
                values = [y, inner.grad, *(p.grad for p in layer.parameters())]
                finite = all(bool(v.isfinite().all()) for v in values)
                name = str(layout).rsplit(".", 1)[1]
                yield (
                    f"| {'x'.join(map(str, shape))} | {str(dtype)[6:]} | {name} | "
                    f"{len(guard.whole)} | untouched | {'yes' if finite else 'NO'} |"
                )


def waits() -> Iterator[str]:
    """Whether a training step waits for the device."""
    ssn, selected = NETWORKS["SSN"](), NETWORKS["selected"]()
    yield f"SSN: {gpu_agreement.steps_without_waiting(ssn, gates=True)}."
    yield f"After freeze_selected: {gpu_agreement.steps_without_waiting(selected, gates=False)}."


SANITIZED = """
import torch
from ssn_prune import SSN2d
for shape, last in (((3, 24, 9, 7), True), ((2, 5, 33, 31), False)):
    x = torch.randn(shape, device="cuda", dtype=torch.bfloat16)
    x = x.to(memory_format=torch.channels_last) if last else x
    x.requires_grad_()
    layer = SSN2d(shape[1]).cuda()
    layer(x).float().square().sum().backward()
torch.cuda.synchronize()
print("done")
"""


def sanitizer() -> Iterator[str]:
    """compute-sanitizer, if it is installed: out-of-bounds accesses, races in shared memory."""
    tool = shutil.which("compute-sanitizer")
    if tool is None:
        yield "compute-sanitizer is not installed."
        return
    for kind in ("memcheck", "racecheck"):
        command = [tool, "--tool", kind, sys.executable, "-c", SANITIZED]
        settings = {**os.environ, "PYTORCH_NO_CUDA_MEMORY_CACHING": "1"}
        found = subprocess.run(command, env=settings, capture_output=True, text=True, check=False)
        summary = [
            line for line in found.stdout.splitlines() if "SUMMARY" in line or line == "done"
        ]
        yield f"{kind}: exit {found.returncode}, {'; '.join(summary)}"


WITHOUT_GRAPH = ("BatchNorm2d", "SSN", "selected", "no norm")
SECTIONS: dict[str, Callable[[], Iterator[str]]] = {
    "eager_224": partial(steps, 0, compiled=False, names=WITHOUT_GRAPH),
    "eager_64": partial(steps, 1, compiled=False, names=WITHOUT_GRAPH),
    "memory": memory,
    "layers": layers,
    "compiled_64": partial(steps, 1, compiled=True, names=("BatchNorm2d", "SSN")),
    "guard_bands": guard_bands,
    "waits": waits,
    "written_anew_224": partial(written_anew, 0),
    "written_anew_64": partial(written_anew, 1),
    "compiled_224": partial(steps, 0, compiled=True, names=("BatchNorm2d", "SSN")),
    "agreement": agreement,
    "sanitizer": sanitizer,
    "compiled_selected": partial(steps, 1, compiled=True, names=("BatchNorm2d", "selected")),
}


def main() -> None:
    """Measure the sections that have no file yet."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--sections", nargs="+", choices=SECTIONS, default=list(SECTIONS))
    parser.add_argument("--seconds", type=float, default=480.0)
    options = parser.parse_args()
    options.out.mkdir(parents=True, exist_ok=True)
    start = time.perf_counter()
    where = (
        f"torch {torch.__version__}, Triton {triton.__version__}, "
        f"{torch.cuda.get_device_name()}, {date.today()}"
    )
    print(where, flush=True)
    for name in options.sections:
        target = options.out / f"{name}.md"
        if target.exists() or time.perf_counter() - start > options.seconds:
            continue
        lines = []
        try:
            for line in SECTIONS[name]():
                lines.append(line)
                print(line, flush=True)
        except Exception:  # noqa: BLE001 - the other sections are still wanted
            traceback.print_exc()
            continue
        finally:
            torch.cuda.empty_cache()
        target.write_text("\n".join([where, "", *lines]) + "\n", encoding="utf-8")
        print(f"-- {name}: {time.perf_counter() - start:.0f} s so far", flush=True)


if __name__ == "__main__":
    main()
