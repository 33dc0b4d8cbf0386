"""Convert whole networks with random selections over all nine pairs and print a table.

    python benchmarks/networks.py [--seeds 0 1 2] [--markdown FILE] NAME ...

There is a row for each network, kind of variance and seed. It has random one-hot pairs, random
affine parameters (10 % of the weights negative, 3 % zero), and running statistics from one float64
pass, perturbed by 30 %. A row is OK if `convert` with both checks passes.
"""

from __future__ import annotations

import argparse
import platform
import tempfile
import time
from collections.abc import Sequence
from datetime import date
from pathlib import Path

import onnxruntime
import torch
from torch import nn

from ssn_prune import convert
from ssn_prune.architectures.registry import find_architecture
from ssn_prune.checkpoint.loading import LoadedCheckpoint, Source
from ssn_prune.errors import SsnPruneError
from ssn_prune.nn.ssn import SSN
from ssn_prune.nn.statistics import instance_moments, pooled_moments
from ssn_prune.normalizer import ALL_PAIRS, NormalizerPair

NAMES = (
    "resnetv1ssn18",
    "resnetv1ssn50",
    "torchvision:resnet18",
    "torchvision:mobilenet_v2",
    "torchvision:densenet121",
    "torchvision:deeplabv3_mobilenet_v3_large",
    "torchvision:convnext_tiny",
)
BUDGET = {"IN/IN": 1, "IN/BN": 3, "LN/BN": 6, "BN/IN": 9, "LN/IN": 12}


def prepare(
    model: nn.Module,
    x: torch.Tensor,
    seed: int,
    avoid_undefined: bool,
    pairs: Sequence[NormalizerPair] = ALL_PAIRS,
) -> None:
    """Random selection and live statistics, in place; fails if an output is constant."""
    generator = torch.Generator().manual_seed(seed)
    layers = [module for module in model.modules() if isinstance(module, SSN)]
    order = torch.randperm(len(pairs), generator=generator).tolist()
    for index, layer in enumerate(layers):
        pair = pairs[order[index % len(order)]]
        with torch.no_grad():
            layer.mean_weight.copy_(torch.eye(3)[pair.mean])
            layer.var_weight.copy_(torch.eye(3)[pair.var])
            layer.weight.normal_(1.0, 0.5, generator=generator)
            draw = torch.rand(layer.num_features, generator=generator)
            layer.weight[draw < 0.1] *= -1
            layer.weight[draw > 0.97] = 0
            layer.bias.normal_(0.0, 0.3, generator=generator)
        layer.mean_fixed.fill_(1)
        layer.var_fixed.fill_(1)

    def settle(layer: SSN, arguments: tuple[torch.Tensor, ...]) -> None:
        if (avoid_undefined or layer.correction) and arguments[0].shape[2:].numel() == 1:
            layer.var_weight.data.copy_(torch.eye(3)[2])
        x = arguments[0][..., None]  # (N, C) has one position
        moments = pooled_moments(*instance_moments(x), dim=0)
        for name, value in zip(("running_mean", "running_var"), moments, strict=True):
            factor = 0.7 + 0.6 * torch.rand(value.numel(), generator=generator).double()
            getattr(layer, name).copy_(value.flatten() * factor)

    handles = [layer.register_forward_pre_hook(settle) for layer in layers]
    with torch.no_grad():
        outputs = model.double().eval()(x.double())
    for handle in handles:
        handle.remove()
    first = next(iter(outputs.values())) if isinstance(outputs, dict) else outputs
    if not bool(torch.isfinite(first).all()) or float(first.std()) == 0:
        raise RuntimeError("the set-up gave a constant or non-finite output")
    model.float()


def row(name: str, correction: int, seed: int) -> list[str]:
    """Convert one network; the last cell of the row is OK or the reason why not."""
    start = time.perf_counter()
    head = [name, "corrected" if correction else "biased", str(seed)]
    torch.manual_seed(seed)
    try:
        architecture = find_architecture(name, trusted=True)
        model = architecture.build(correction=correction).eval()
        assert architecture.input_size is not None
        prepare(model, torch.randn(4, *architecture.input_size), seed, bool(correction))
        source = Source("random", "0" * 64, "zip", None, (), "", 0, name, {}, {})
        loaded = LoadedCheckpoint(model, architecture.input_size, source)
        with tempfile.TemporaryDirectory() as folder:
            report = convert(loaded, Path(folder) / "model.onnx")
    except SsnPruneError as error:
        return [*head, *["-"] * 7, f"{type(error).__name__}: {error.found}"]
    assert report.onnx is not None
    assert report.verification is not None
    algebra, rounding = report.verification.algebra, report.verification.rounding
    assert algebra is not None
    assert rounding is not None
    added = sum(
        (0 if layer.fold else 1)
        if layer.form in ("Identity", "BatchNorm2d")
        else BUDGET.get(f"{layer.mean.choice}/{layer.var.choice}", 17)
        for layer in report.layers
    )
    return [
        *head,
        str(len(report.layers)),
        str(sum(layer.fold is not None for layer in report.layers)),
        str(report.onnx.nodes),
        str(added),
        f"{max(algebra.output_error, algebra.worst_layer_error):.1e}",
        f"{rounding.max_error / rounding.bound:.2f}",
        f"{time.perf_counter() - start:.0f}",
        "OK",
    ]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("names", nargs="*", default=NAMES)
    parser.add_argument("--seeds", type=int, nargs="+", default=[0])
    parser.add_argument("--markdown", type=Path)
    arguments = parser.parse_args()
    columns = ["network", "variance", "seed", "layers", "with a fold", "nodes"]
    columns += [
        "node budget of the layers",
        "algebra error",
        "rounding error / bound",
        "s",
        "result",
    ]
    lines = [" | ".join(columns), " | ".join("---" for _ in columns)]
    for name in arguments.names or NAMES:
        for correction in (0, 1):
            for seed in arguments.seeds:
                lines.append(" | ".join(row(name, correction, seed)))
                print(lines[-1], flush=True)
    versions = (
        f"torch {torch.__version__}, ONNX Runtime {onnxruntime.__version__}, "
        f"{platform.machine()} CPU, {torch.get_num_threads()} threads, {date.today()}"
    )
    table = "\n".join(f"| {line} |" for line in lines)
    if arguments.markdown:
        heading = "# Whole networks with random selections\n\n`python benchmarks/networks.py"
        options = f" --seeds {' '.join(map(str, arguments.seeds))}`: {versions}.\n\n"
        arguments.markdown.write_text(f"{heading}{options}{table}\n")


if __name__ == "__main__":
    main()
