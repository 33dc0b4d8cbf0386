"""Arguments and options that several commands share."""

from __future__ import annotations

import enum
from pathlib import Path
from typing import Annotated

import typer


class Unconverged(enum.StrEnum):
    """What to do with gates that are not one-hot."""

    error = "error"
    exact = "exact"
    argmax = "argmax"


class Checks(enum.StrEnum):
    """Which checks to run."""

    all = "all"
    algebra = "algebra"
    rounding = "rounding"
    none = "none"


class Targets(enum.StrEnum):
    """The runtimes that a file can be written for: the rows of the library's table."""

    portable = "portable"
    onnxruntime = "onnxruntime"
    openvino = "openvino"
    opencv = "opencv"
    mnn = "mnn"
    tract = "tract"
    ncnn = "ncnn"
    tflite = "tflite"


class Formats(enum.StrEnum):
    """Formats of exported files: the rows of the library's table."""

    onnx = "onnx"
    pt2 = "pt2"


class DynamicAxes(enum.StrEnum):
    """Which axes of the inputs are dynamic."""

    none = "none"
    batch = "batch"
    spatial = "spatial"


# typer evaluates these annotations at run time on every supported Python.
Checkpoint = Annotated[
    Path, typer.Argument(metavar="CKPT", help="Checkpoint from torch.save, or safetensors.")
]
Arch = Annotated[
    str | None,
    typer.Option(
        help="resnetv1ssn18...152, resnetv1sn18...152, torchvision:NAME, timm:NAME or "
        "package.module:factory. Default: what the checkpoint names."
    ),
]
ArchArgs = Annotated[
    str | None, typer.Option(help="Arguments of the architecture, as a JSON object.")
]
Prefix = Annotated[
    str | None, typer.Option(help="Key prefix to remove, such as module. (default: detected).")
]
WeightsEntry = Annotated[
    str | None,
    typer.Option(
        "--weights",
        help="Entry that holds the weights, such as state_dict_ema (default: detected).",
    ),
]
InputSize = Annotated[
    str | None,
    typer.Option(
        help="Input size: 224, 240x320, 1x28x28 or 3x16x112x112; 64 for vectors of 64 features; "
        "commas between several inputs."
    ),
]
Correction = Annotated[
    int | None,
    typer.Option(
        min=0,
        max=2,
        help="Bessel correction of variances: 0 none, 1 as the reference code, 2 each by its own "
        "count (default: by the layout of the checkpoint).",
    ),
]
OnUnconverged = Annotated[
    Unconverged,
    typer.Option(
        help="Gates that are not one-hot: refuse, keep the weighted form, or round and report "
        "the error."
    ),
]
Target = Annotated[
    Targets, typer.Option(help="The runtime to write the file for; portable works in all of them.")
]
Dynamic = Annotated[
    DynamicAxes | None,
    typer.Option(
        help="Dynamic sizes: none, the batch (default), or batch and spatial sizes (spatial)."
    ),
]
TrustStatistics = Annotated[
    bool,
    typer.Option(
        "--trust-running-statistics",
        help="Skip the check for running statistics that are sums, not averages.",
    ),
]
AllowUnverified = Annotated[
    bool,
    typer.Option(
        "--allow-unverified-layers",
        help="Accept layers of your own code that cannot run here, such as ones that need a GPU.",
    ),
]
VerifyOption = Annotated[Checks, typer.Option("--verify", help="Checks to run.")]
Provider = Annotated[
    str,
    typer.Option(
        metavar="NAME",
        help="Execution provider of ONNX Runtime: cpu, cuda, or another that is installed.",
    ),
]
Timeout = Annotated[
    int,
    typer.Option(
        min=1,
        metavar="SECONDS",
        help="How long a runtime may take for a file before its process is ended.",
    ),
]
History = Annotated[
    Path | None,
    typer.Option(help="Gate history of the training, from GateRecords.save, for the report."),
]
AllLayers = Annotated[bool, typer.Option("--all", help="Show every layer, however many there are.")]
TrustPt2 = Annotated[
    bool,
    typer.Option("--trust-pt2", help="Open torch programs (.pt2); this executes the code in them."),
]
Data = Annotated[
    str | None,
    typer.Option(
        metavar="SOURCE",
        help="Images to compare both networks on: a folder, x.zip, x.zip/folder, x.npz or "
        "package.module:loader.",
    ),
]
DataLimit = Annotated[
    int | None,
    typer.Option(min=1, metavar="N", help="Use N of the images, spread evenly (default: all)."),
]
Mean = Annotated[
    str | None,
    typer.Option(
        metavar="A,B,C",
        help="Inputs are (pixels - mean) / std, with pixels in [0, 1] (default: the architecture's "
        "own).",
    ),
]
Std = Annotated[str | None, typer.Option(metavar="A,B,C", help="See --mean.")]
Resize = Annotated[
    int | None,
    typer.Option(
        min=1,
        metavar="N",
        help="Size of the shorter side of images before the centre crop (default: the "
        "architecture's own, or whole images).",
    ),
]
Json = Annotated[bool, typer.Option("--json", help="Print one JSON document.")]
Quiet = Annotated[bool, typer.Option("--quiet", "-q", help="Print errors only.")]
Debug = Annotated[bool, typer.Option("--debug", help="Show tracebacks.")]
