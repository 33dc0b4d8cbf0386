"""The same networks, converted to ONNX in other ways, in one run.

    python benchmarks/peers.py [--checkpoint FILE] [--runs 20] [--batches 1 8] [NAME ...]

For each network and batch size, all files have that batch fixed and opset 18:

- legacy: torch's TorchScript exporter on layers that compute the formula (all statistics);
- onnxslim, onnxsim: these tools on that file (``pip install onnxslim onnxsim``);
- by hand: torch's dynamo exporter on a network with the selection written out by hand: torch's own
  BatchNorm, InstanceNorm and GroupNorm where they are exact, else only the statistics selected;
- ours: ``ssn-prune convert``.

Latency: ONNX Runtime, CPU, one thread, all files taking turns; ratio of medians to the network
without norms (see ssn_prune.benchmarking). Error: largest difference of an output from the original
in float64, relative to the largest output. Seconds: the conversion alone, without imports and
without our verification.
"""

from __future__ import annotations

import argparse
import statistics
import tempfile
import time
import warnings
from collections.abc import Callable
from functools import partial
from pathlib import Path

import numpy as np
import onnx
import onnxsim
import onnxslim
import torch
from machine import heading
from networks import prepare
from peer_layers import by_formula, by_hand
from torch import nn

from ssn_prune import convert, load_checkpoint
from ssn_prune.architectures.registry import find_architecture
from ssn_prune.benchmarking.networks import without_norms
from ssn_prune.checkpoint.loading import LoadedCheckpoint, Source
from ssn_prune.conversion import ConvertOptions
from ssn_prune.nn.ssn import SSN
from ssn_prune.normalizer import Normalizer, NormalizerPair
from ssn_prune.onnx_export.exporter import export_onnx
from ssn_prune.onnx_export.options import ExportOptions
from ssn_prune.runtime.measuring import time_in_turns
from ssn_prune.runtime.sessions import open_session
from ssn_prune.surgery.float64 import float64_copy
from ssn_prune.surgery.nested import tensor_leaves

_KINDS = (Normalizer.BN, Normalizer.IN, Normalizer.LN)
_BN, _IN, _LN = (NormalizerPair(kind, kind) for kind in _KINDS)
NETWORKS: dict[str, tuple[str, NormalizerPair | None, tuple[int, ...]]] = {
    "ResNet-50, all BN": ("torchvision:resnet50", _BN, (3, 224, 224)),
    "ResNet-50, all IN": ("torchvision:resnet50", _IN, (3, 224, 224)),
    "ResNet-50, all LN": ("torchvision:resnet50", _LN, (3, 224, 224)),
    "ResNet-50, nine pairs": ("torchvision:resnet50", None, (3, 224, 224)),
    "MobileNetV2": ("torchvision:mobilenet_v2", None, (3, 224, 224)),
    "DenseNet-121": ("torchvision:densenet121", None, (3, 224, 224)),
    "DeepLabV3-MobileNet": ("torchvision:deeplabv3_mobilenet_v3_large", None, (3, 224, 224)),
    "r3d_18": ("torchvision:r3d_18", None, (3, 8, 112, 112)),
}  # fmt: skip
GOLDEN = "trained ResNet-18"
LIMIT_SECONDS = 120.0  # of timing per row; slow networks get fewer runs, at least 5


def build(name: str) -> LoadedCheckpoint:
    """A network with one pair in all layers, or with all nine."""
    arch, pair, size = NETWORKS[name]
    torch.manual_seed(0)
    model = find_architecture(arch, trusted=True).build().eval()
    prepare(model, torch.randn(2, *size), seed=0, avoid_undefined=True)
    if pair is not None:
        for layer in [m for m in model.modules() if isinstance(m, SSN)]:
            with torch.no_grad():
                layer.mean_weight.copy_(torch.eye(3)[pair.mean])
                layer.var_weight.copy_(torch.eye(3)[pair.var])
    return LoadedCheckpoint(model, size, Source(name, "", "", None, (), "", (), arch, {}, {}))


def _legacy(loaded: LoadedCheckpoint, x: torch.Tensor, path: Path, _: Path) -> None:
    torch.onnx.export(by_formula(loaded.model), (x,), path, dynamo=False, opset_version=18)


def _slim(_loaded: LoadedCheckpoint, _x: torch.Tensor, path: Path, legacy: Path) -> None:
    onnx.save(onnxslim.slim(str(legacy)), path)


def _simplified(_loaded: LoadedCheckpoint, _x: torch.Tensor, path: Path, legacy: Path) -> None:
    onnx.save(onnxsim.simplify(onnx.load(legacy))[0], path)


def _by_hand(loaded: LoadedCheckpoint, x: torch.Tensor, path: Path, _: Path) -> None:
    torch.onnx.export(
        by_hand(loaded.model), (x,), path, dynamo=True, opset_version=18, verbose=False,
        external_data=False,
    )  # fmt: skip


def _ours(loaded: LoadedCheckpoint, x: torch.Tensor, path: Path, _: Path) -> None:
    options = ConvertOptions(
        algebra=False, rounding=False, target="onnxruntime", static_batch=len(x)
    )
    convert(loaded, path, options, force=True)


def _norm_free(loaded: LoadedCheckpoint, x: torch.Tensor, path: Path, _: Path) -> None:
    options = ExportOptions(dynamic="none")
    export_onnx(without_norms(loaded.model), x, path, options=options)


Way = Callable[[LoadedCheckpoint, torch.Tensor, Path, Path], None]
WAYS: dict[str, Way] = {
    "legacy": _legacy,
    "onnxslim": _slim,
    "onnxsim": _simplified,
    "by hand": _by_hand,
    "ours": _ours,
    "norm-free": _norm_free,
}


def rows(name: str, loaded: LoadedCheckpoint, batch: int, runs: int) -> list[str]:
    """Lines of the table for one network and batch size."""
    assert loaded.input_size is not None
    x = torch.randn(batch, *loaded.input_size, generator=torch.Generator().manual_seed(0))
    wide: nn.Module = float64_copy(loaded.model.eval())
    with torch.no_grad():
        exact = tensor_leaves(wide(x.double()))
    del wide
    seconds, paths, failed = {}, {}, {}
    with tempfile.TemporaryDirectory() as folder:
        legacy = Path(folder) / "legacy.onnx"
        for way, export in WAYS.items():
            path = Path(folder) / f"{way.replace(' ', '_')}.onnx"
            start = time.perf_counter()
            try:
                export(loaded, x, path, legacy)
            except Exception as error:  # noqa: BLE001  # whatever a tool raises is its row
                failed[way] = f"{type(error).__name__}"
                continue
            seconds[way], paths[way] = time.perf_counter() - start, path
        runners, errors = {}, {}
        for way, path in paths.items():
            session = open_session(path, way)
            feed = {session.get_inputs()[0].name: x.numpy()}
            found = session.run(None, feed)
            start = time.perf_counter()
            session.run(None, feed)
            runs = min(runs, max(5, int(LIMIT_SECONDS / len(WAYS) / (time.perf_counter() - start))))
            runners[way] = partial(session.run, None, feed)
            errors[way] = max(
                float(np.abs(value - reference.numpy()).max() / reference.abs().max())
                for value, reference in zip(found, exact, strict=True)
            )
        times = time_in_turns(runners, runs, warmup=2)
        medians = {way: statistics.median(values) for way, values in times.items()}
        lines = []
        for way, path in paths.items():
            nodes = len(onnx.load(path, load_external_data=False).graph.node)
            ratio, spread = medians[way] / medians["norm-free"], _spread(times[way])
            error = "" if way == "norm-free" else f"{errors[way]:.1e}"
            lines.append(
                f"| {name} | {batch} | {way} | {1e3 * medians[way]:.1f} | {ratio:.3f} | "
                f"{spread:.1%} | {nodes} | {path.stat().st_size / 1e6:.1f} | {error} | "
                f"{seconds[way]:.1f} |"
            )
        lines += [
            f"| {name} | {batch} | {way} | {why} | | | | | | |" for way, why in failed.items()
        ]
    return lines


def _spread(values: list[float]) -> float:
    lower, median, upper = statistics.quantiles(values, n=4)
    return (upper - lower) / median


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("names", nargs="*", help=f"default: all of {', '.join(NETWORKS)}")
    parser.add_argument("--checkpoint", type=Path, help=f"the file of the {GOLDEN}")
    parser.add_argument("--runs", type=int, default=20)
    parser.add_argument("--batches", type=int, nargs="+", default=[1, 8])
    parser.add_argument("--markdown", type=Path)
    options = parser.parse_args()
    warnings.simplefilter("ignore")
    lines = [
        "| network | batch | way | ms | ratio | quartiles | nodes | MB | error | seconds |",
        "|---|---|---|---|---|---|---|---|---|---|",
    ]
    print("\n".join(lines))
    names = options.names or list(NETWORKS)
    for name in ([GOLDEN] if options.checkpoint else []) + names:
        loaded = load_checkpoint(options.checkpoint) if name == GOLDEN else build(name)
        for batch in options.batches:
            found = rows(name, loaded, batch, options.runs)
            print("\n".join(found), flush=True)
            lines += found
    if options.markdown:
        how = f"ONNX Runtime, one thread, up to {options.runs} runs taking turns"
        title = heading("Other ways to ONNX", "peers.py --checkpoint FILE", how)
        options.markdown.write_text(title + "\n".join(lines) + "\n")


if __name__ == "__main__":
    main()
