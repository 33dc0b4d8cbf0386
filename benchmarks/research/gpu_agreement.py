"""Compare the layers on a GPU with the CPU in float64, and check that no step waits for the GPU.

    python benchmarks/research/gpu_agreement.py [--markdown FILE]

The first table has the largest errors of outputs, gradients and running statistics over several
shapes, contiguous and channels-last, each relative to the largest entry of its tensor. The layers
are SSN, SwitchNorm and all nine pairs after ``freeze_selected``, in float32 without TF32 and with
bfloat16 inputs under autocast. Then training steps run with torch's synchronisation check set to
raise: forward, backward, clipping, optimizer, radius schedule and gate history. The exit code is 1
if a bound is broken.
"""

from __future__ import annotations

import argparse
import copy
import itertools
import sys
import tempfile
from collections.abc import Callable, Iterable
from functools import partial
from pathlib import Path

import torch
import torch.distributed as dist
from torch import Tensor, nn

from ssn_prune import (
    GateHistory,
    RadiusSchedule,
    SSN1d,
    SSN2d,
    SSN3d,
    SwitchNorm2d,
    clip_gate_gradients,
    freeze_selected,
    param_groups,
    synchronize,
)
from ssn_prune.normalizer import Normalizer

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from training_speed import selected, ssn

SHAPES = ((8, 64, 56, 56), (4, 16, 7, 7), (2, 3, 9, 8), (32, 512, 4, 4), (6, 5, 1, 1))
LAYOUTS = (torch.contiguous_format, torch.channels_last)
BOUND = 2e-5  # of the largest entry, float32
HALF_BOUND = 2.0**-6  # bfloat16 has eight bits; torch's BatchNorm reaches 2**-7
Errors = dict[str, float]


def trained(layer: nn.Module) -> nn.Module:
    """Parameters and statistics as after some training; soft gates."""
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for name, tensor in layer.named_parameters():
            tensor.uniform_(0.6, 1.4, generator=generator)
            if "_weight" in name:
                tensor.mul_(0.2)
        layer.running_mean.normal_(1.0, generator=generator)
        layer.running_var.uniform_(0.3, 3.0, generator=generator)
        if isinstance(layer, SSN1d | SSN2d | SSN3d):
            layer.radius.fill_(0.2)
    return layer


def compiled(layer: nn.Module) -> nn.Module:
    """The layer inside a compiled network."""
    layer.compile(dynamic=False)
    return layer


def frozen(pair: tuple[Normalizer, Normalizer], channels: int) -> nn.Module:
    """The layer that ``freeze_selected`` puts in place of one with one-hot gates."""
    layer = trained(SSN2d(channels))
    layer.fix(*pair)
    return freeze_selected(nn.Sequential(layer)).model[0]


def draw(shape: tuple[int, ...], seed: int = 0) -> Tensor:
    """Noise whose channels differ in spread, with a mean of 1."""
    generator = torch.Generator().manual_seed(seed)
    spread = torch.linspace(0.5, 2, shape[1]).view(-1, *[1] * (len(shape) - 2))
    return torch.randn(shape, generator=generator) * spread + 1


def results(layer: nn.Module, x: Tensor, grad: Tensor, *, half: bool = False) -> dict[str, Tensor]:
    """Output, gradients and running statistics of one pass."""
    x = x.detach().requires_grad_()
    with torch.autocast(x.device.type, dtype=torch.bfloat16, enabled=half):
        y = layer(x)
    y.backward(grad.to(y.dtype))
    found = {"output": y.detach(), "d input": x.grad}
    found |= {f"d {name}": p.grad for name, p in layer.named_parameters()}
    running = ((n, b) for n, b in layer.named_buffers() if n.startswith("running"))
    for name, value in running:
        assert value.dtype == (torch.float64 if x.dtype == torch.float64 else torch.float32)
        found[name] = value.clone()
    return found


def errors_of(build: Callable[[], nn.Module], x: Tensor, *, half: bool = False) -> Errors:
    """The GPU against the CPU in float64, in training and in evaluation."""
    grad = draw(tuple(x.shape), seed=1)
    worst: Errors = {}
    for training in (True, False):
        exact, layer = build().double().train(training), build().cuda().train(training)
        exact._compiled_call_impl = None  # the reference is always computed by the formula
        if half:
            x, grad = x.bfloat16(), grad.bfloat16()
        wanted = results(exact, x.double(), grad.double())
        found = results(layer, x.cuda(), grad.cuda(), half=half)
        assert found.keys() == wanted.keys()
        for name, value in wanted.items():
            assert found[name].isfinite().all(), name
            scale = float(value.abs().max()) or 1.0
            error = float((found[name].cpu().double() - value).abs().max()) / scale
            worst[name] = max(worst.get(name, 0.0), error)
    return worst


def layouts(shape: tuple[int, ...]) -> Iterable[Tensor]:
    """An input in every memory layout."""
    formats = LAYOUTS if len(shape) == 4 else (torch.contiguous_format,)
    return (draw(shape).to(memory_format=layout) for layout in formats)


_FEW = ("SSN1d", "SSN2d", "SSN2d, correction=1", "SSN3d", "SwitchNorm2d", "IN/BN", "LN/IN")
HEADING = [
    "| layer | precision | output | input gradient | weight, bias | gates | running | within |",
    "| --- | --- | --- | --- | --- | --- | --- | --- |",
]


def agreement(*, few: bool = False) -> list[str]:
    """Rows of the table of errors; a short table has two shapes only."""
    torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = False
    kinds: list[tuple[str, Callable[[int], nn.Module], tuple[tuple[int, ...], ...]]] = [
        ("SSN1d", lambda c: trained(SSN1d(c)), ((6, 5), (4, 5, 7))),
        ("SSN2d", lambda c: trained(SSN2d(c)), SHAPES),
        ("SSN2d, correction=1", lambda c: trained(SSN2d(c, correction=1)), SHAPES[:-1]),
        ("SSN3d", lambda c: trained(SSN3d(c)), ((4, 3, 2, 3, 2), (2, 8, 8, 9, 10))),
        ("SSN2d, compiled", lambda c: compiled(trained(SSN2d(c))), SHAPES[:1]),
        ("SwitchNorm2d", lambda c: trained(SwitchNorm2d(c)), SHAPES),
    ]
    for pair in itertools.product(Normalizer, repeat=2):
        name = "/".join(normalizer.name for normalizer in pair)
        # BatchNorm's and InstanceNorm's variance gradient vanishes into rounding at one position
        kinds.append((name, lambda c, pair=pair: frozen(pair, c), SHAPES[:-1]))
    if few:
        kinds = [kind for kind in kinds if kind[0] in _FEW]
    rows = []
    for (name, build, shapes), half in itertools.product(kinds, (False, True)):
        worst: Errors = {}
        for shape in shapes[:2] if few else shapes:
            for x in layouts(shape):
                for key, error in errors_of(partial(build, shape[1]), x, half=half).items():
                    kind = key if key in ("output", "d input") else key.split("_")[0]
                    label = {"d mean": "d gates", "d var": "d gates", "d bias": "d weight"}
                    kind = label.get(kind, kind)
                    worst[kind] = max(worst.get(kind, 0.0), error)
        bound = HALF_BOUND if half else BOUND
        columns = ("output", "d input", "d weight", "d gates", "running")
        cells = [f"{worst[column]:.1e}" if column in worst else "-" for column in columns]
        verdict = "yes" if all(error <= bound for error in worst.values()) else "NO"
        precision = "bf16" if half else "float32"
        rows.append(f"| {name} | {precision} | {' | '.join(cells)} | {verdict} |")
    return rows


def steps_without_waiting(model: nn.Module, *, gates: bool) -> str:
    """Run training steps that raise if the host waits for the device."""
    model = model.cuda().to(memory_format=torch.channels_last)
    optimizer = torch.optim.SGD(param_groups(model, lr=0.01, weight_decay=1e-4), momentum=0.9)
    history = GateHistory(model)
    schedule = RadiusSchedule(model, 100, history=history) if gates else None
    x = torch.randn(16, 3, 64, 64, device="cuda").to(memory_format=torch.channels_last)
    labels = torch.arange(16, device="cuda")

    def step() -> None:
        with torch.autocast("cuda", dtype=torch.bfloat16):
            loss = nn.functional.cross_entropy(model(x), labels)
        optimizer.zero_grad()
        loss.backward()
        if schedule is not None:
            clip_gate_gradients(model)
        optimizer.step()
        if schedule is not None:
            schedule.step()

    step()
    torch.cuda.synchronize()
    torch.cuda.set_sync_debug_mode("error")
    try:
        for _ in range(3):
            step()
        try:
            labels.sum().item()
            return "the check itself does not work"
        except RuntimeError:
            pass
    except RuntimeError as error:
        return f"WAITS: {error}"
    finally:
        torch.cuda.set_sync_debug_mode("default")
    return "3 steps, none waits"


def one_process() -> str:
    """Check that statistics that one process shares through NCCL are its own."""
    with tempfile.TemporaryDirectory() as folder:
        store = (Path(folder) / "store").as_uri()
        dist.init_process_group("nccl", store, rank=0, world_size=1)
        try:
            x, grad = (draw((8, 16, 9, 9), seed=seed).cuda() for seed in (0, 1))
            layer = trained(SSN2d(16)).cuda()
            shared = synchronize(copy.deepcopy(layer))
            wanted = results(layer, x, grad)
            found = results(shared, x, grad)
            network = synchronize(ssn())
            waits = steps_without_waiting(network, gates=True)
        finally:
            dist.destroy_process_group()
    error = max(
        float((found[n] - v).abs().max()) / (float(v.abs().max()) or 1.0) for n, v in wanted.items()
    )
    assert error <= BOUND, error
    return f"largest difference to statistics of its own {error:.1e}; {waits}"


def report() -> str:
    """All checks, as Markdown."""
    lines = [
        *HEADING,
        *agreement(),
        "",
        f"ResNet-18 with SSN: {steps_without_waiting(ssn(), gates=True)}.",
        f"ResNet-18 after freeze_selected: {steps_without_waiting(selected(), gates=False)}.",
        f"Synchronised statistics, NCCL, one process: {one_process()}.",
    ]
    return "\n".join(lines) + "\n"


def main() -> int:
    """Check and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--markdown", type=Path)
    options = parser.parse_args()
    text = report()
    print(text)
    if options.markdown:
        options.markdown.write_text(text, encoding="utf-8")
    return 1 if any(word in text for word in ("| NO |", "WAITS", "does not work")) else 0


if __name__ == "__main__":
    raise SystemExit(main())
