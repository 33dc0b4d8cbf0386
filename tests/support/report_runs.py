"""Sample runs for reports: records as a conversion fills them, without a conversion."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from ssn_prune.accuracy.results import (
    Accuracy,
    AccuracyReport,
    DifferingImage,
    PairedDifference,
)
from ssn_prune.benchmarking.records import BenchOptions, BenchReport, LayerCost, NetworkCost
from ssn_prune.checkpoint.source import Source
from ssn_prune.environment import Environment
from ssn_prune.images.image_set import TargetKind
from ssn_prune.onnx_export.results import OnnxStats, PassRecord
from ssn_prune.progress import StepTime
from ssn_prune.pruning.results import GateReport, LayerReport, NetworkStats, RoundedGates
from ssn_prune.pruning.stages import stages_of
from ssn_prune.report import SCHEMA_VERSION, ConversionReport
from ssn_prune.reporting.run import Run
from ssn_prune.surgery.results import AdoptionCheck, layer_error
from ssn_prune.training.gate_traces import GateTrace, gate_traces
from ssn_prune.training.history import GateRecords
from ssn_prune.verification.results import AlgebraCheck, RoundingCheck, VerificationReport

NAMES = ("IN", "LN", "BN")
HOSTILE = "</script><img src=x onerror=alert(1)>"
RESNET18 = [
    "sn1",
    *(
        f"layer{stage}.{block}.{layer}"
        for stage in (1, 2, 3, 4)
        for block in (0, 1)
        for layer in ("sn1", "sn2", *(["downsample.1"] if stage > 1 and block == 0 else []))
    ),
]
MOBILENET = [
    "features.0.1",
    *(f"features.{i}.conv.{j}" for i in range(1, 18) for j in (["0.1", "1.1", "3"])),
    "features.18.1",
]
HUGE = [
    f"backbone.stage{stage}.block{block}.norm{norm}"
    for stage, blocks in ((1, 10), (2, 25), (3, 90), (4, 30))
    for block in range(blocks)
    for norm in (1, 2)
]
FOLDS = {
    "BN/BN": ("Identity", "scale_and_shift"),
    "IN/BN": ("InstanceCentre2d", "scale"),
    "LN/BN": ("LayerCentre2d", "scale"),
    "BN/IN": ("MomentNorm2d", "running_mean"),
    "BN/LN": ("MomentNorm2d", "running_mean"),
    "IN/IN": ("InstanceNorm2d", "centring"),
}


def gate(choice: str, *, soft: bool = False) -> GateReport:
    ratios = {name: float(name == choice) for name in NAMES}
    if soft:
        ratios = {name: 0.6 if name == choice else 0.2 for name in NAMES}
    return GateReport(choice, ratios, not soft, 0.4 if soft else 1.0)


def layer(name: str, pair: str = "IN/BN", *, soft: bool = False, order: int = 0) -> LayerReport:
    mean, var = pair.split("/")
    form, fold = FOLDS.get(pair, ("MomentNorm2d", None))
    if soft:
        form, fold = "MomentNorm2d", None
    reason = None if fold else f"no part of {pair} can move into a neighbouring layer"
    return LayerReport(
        *(name, "SSN", 64, 3136, gate(mean, soft=soft), gate(var), not soft, 0.8),
        calls=1,
        correction=1,
        form=form,
        fold=fold,
        folded_into=f"{name.rpartition('.')[0]}.conv" if fold else None,
        reason_code=None if fold else "nothing_folds",
        reason=reason,
        order=order,
        producer="aten.conv2d.default",
    )


def layers(names: Sequence[str], *, soft: Sequence[int] = ()) -> tuple[LayerReport, ...]:
    random = np.random.default_rng(0)
    pairs = ["/".join(random.choice(NAMES, 2)) for _ in names]
    made = [layer(n, p, soft=i in soft, order=i) for i, (n, p) in enumerate(zip(names, pairs))]  # noqa: B905
    stages = stages_of(names)
    return tuple(replace(entry, stage=s) for entry, s in zip(made, stages, strict=True))


def checks(names: Sequence[str], *, first_off: int | None = None) -> VerificationReport:
    random = np.random.default_rng(1)
    inside = []
    for index, name in enumerate(names):
        off = first_off is not None and index >= first_off
        bound = random.uniform(2e-6, 5e-6)
        inside.append(layer_error(name, random.uniform(1e-7, 1e-6) * (9000 if off else 1), bound))
    wrong = first_off is not None
    return VerificationReport(
        AlgebraCheck(
            True,
            *(2.7e-16, names[0], 2.3e-15, None, 1e-11),
            layers=tuple(layer_error(n, random.uniform(1e-16, 1e-14), 1e-11) for n in names),
        ),
        RoundingCheck(
            not wrong,
            *(0.041 if wrong else 5.2e-6, 1.4e-6, 1.9e-5, 13.0, 1.0, 6, (1, 2, 3)),
            *(names[first_off] if first_off is not None else None, "output", None),
            "CPUExecutionProvider",
            tuple(inside),
        ),
        AdoptionCheck(False, "own_layers"),
    )


def run(
    names: Sequence[str] = RESNET18,
    *,
    soft: Sequence[int] = (),
    first_off: int | None = None,
    **parts: Any,
) -> Run:
    """The run of a conversion; ``parts`` replace fields of its report."""
    report = ConversionReport(
        SCHEMA_VERSION,
        "0.2.0",
        Source(
            "model.pth", "ab" * 32, "zip", "state_dict", (), "module.", 0, "net", {}, {"epoch": 9}
        ),
        layers(names, soft=soft),
        NetworkStats(11_000_000, {"conv2d": 20, "mean": 120, "sub": 80}),
        NetworkStats(11_000_000, {"conv2d": 20, "mean": 30, "sub": 25}),
        onnx=OnnxStats(
            *("model.onnx", 44_768_947, None, 184, {"Conv": 20, "Sub": 25}, 18, 8),
            {"input": ["batch", 3, 224, 224]},
            {"output": ["batch", 10]},
            (PassRecord("max_pool_first", 1, ("maxpool",)),),
            sha256="cd" * 32,
        ),
        verification=checks(names, first_off=first_off),
        command=("ssn-prune", "convert", "model.pth", "--arch", "net", "--report", "page.html"),
        options={"fold": True, "opset": 18},
        environment=Environment("3.11.7", {"torch": "2.14.1"}, "Linux 6.1 x86_64", "A CPU", 2),
        steps=(StepTime("pruning", 1.5), StepTime("writing", 0.01)),
    )
    return Run(replace(report, **parts))


def rounded() -> RoundedGates:
    return RoundedGates(("layer1.0.sn1", "layer1.0.sn2", "sn1"), 0.21, 10.0, 0.98)


def bench(original: float = 40.0, pruned: float = 36.0, spread: float = 0.5) -> BenchReport:
    networks = tuple(
        NetworkCost(name, nodes, size, ms, ms - spread / 2, ms + spread / 2, ms / 32, 150_000_000)
        for name, nodes, size, ms in (
            ("original", 539, 44_826_975, original),
            ("pruned", 184, 44_768_947, pruned),
            ("norm-free", 49, 44_697_896, 32.0),
        )
    )
    costs = tuple(
        LayerCost("pruned", name, "LN", "IN", "MomentNorm2d", 12, 1 / (1 + i), 0.04 / (1 + i))
        for i, name in enumerate(RESNET18[:10])
    )
    return BenchReport(
        1, "0.2.0", "1.32.0", "A CPU", 2, BenchOptions(), "norm-free", networks, costs, {}, False
    )


PICTURE = (
    "iVBORw0KGgoAAAANSUhEUgAAAAgAAAAICAAAAADhZOFXAAAAEElEQVR42mOMYoAAJgaKGAAbfgBq+MZE2wAAAABJ"
    "RU5ErkJggg=="
)


def accuracy(differing: int = 30, kind: TargetKind = TargetKind.CLASSES) -> AccuracyReport:
    """Results on 300 images, some of which get another class."""
    images = [
        DifferingImage(f"{i % 3}/{i}{HOSTILE}.png", "7", "7", "1", 1.0, 0.04, PICTURE)
        for i in range(differing)
    ]
    labelled = kind is not TargetKind.NONE
    before, after = (Accuracy(top1=s, top5=1.0) if labelled else Accuracy() for s in (0.87, 0.86))
    gap = PairedDifference(-0.01, -0.031, 0.008, 0.95) if labelled else None
    return AccuracyReport(
        *("photos.zip/test", 300, 600, kind, before, after, gap, 1 - differing / 300),
        *(0.02, 0.4, None, differing, tuple(images)),
    )


def history(names: Sequence[str] = RESNET18) -> tuple[GateTrace, ...]:
    """Gates that become one-hot one after the other; the last one does not."""
    count = 100
    ratios = np.zeros((count, len(names), 2, 3), dtype=np.float32)
    for index in range(len(names)):
        for row in range(2):
            grown = np.linspace(0, 1, 40 + (index * 7 + row * 3) % 50)
            path = np.full(count, 1.0)
            path[: len(grown)] = grown
            chosen = (index + row) % 3
            ratios[:, index, row] = ((1 - path) / 3)[:, None]
            ratios[:, index, row, chosen] += path
    ratios[:, -1, 1] = (0.5, 0.3, 0.2)
    steps = np.arange(count, dtype=np.int64) * 10
    return gate_traces(GateRecords(tuple(names), steps, ratios))
