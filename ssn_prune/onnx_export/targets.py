"""What a file is for: runtimes, what each of them can read, and which forms serve it best.

The default file is the portable one, which all of them read. A row differs from it only where the
default file fails in that runtime or is slower there; ``docs/targets.md`` has the measurements.
"""

from __future__ import annotations

from dataclasses import dataclass

from ssn_prune.errors import ArgumentError
from ssn_prune.onnx_export.options import DEFAULT_OPSET, Dynamic, ExportOptions

_COMMON_PASSES = (
    "scale_and_shift",
    "bias_with_mean",
    "channel_sum_1d",
    "max_pool_first",
    "two_axes",
)
_PORTABLE_PASSES = (*_COMMON_PASSES, "never_one_axis")


@dataclass(frozen=True)
class Target:
    """A kind of file.

    Attributes:
        name: For options, reports and metadata.
        title: What reads it.
        highest_opset: The newest operator set that it may have; None for any.
        highest_ir_version: The newest format version; None for any.
        dynamic: Which axes may be dynamic, the default first.
        passes: Those over the exported graph, rows of
            :data:`ssn_prune.onnx_export.passes.table.PASSES`.
    """

    name: str
    title: str
    highest_opset: int | None = None
    highest_ir_version: int | None = None
    dynamic: tuple[Dynamic, ...] = ("batch", "spatial", "none")
    passes: tuple[str, ...] = _PORTABLE_PASSES


PORTABLE = "portable"
TARGETS: tuple[Target, ...] = (
    Target(PORTABLE, "every runtime"),
    Target("onnxruntime", "ONNX Runtime", passes=("one_sample", *_COMMON_PASSES)),
    Target("openvino", "OpenVINO", passes=("one_sample", *_COMMON_PASSES)),
    Target(
        "opencv",
        "OpenCV",
        dynamic=("batch", "none"),
        passes=(*_PORTABLE_PASSES, "instance_moments"),
    ),
    Target("mnn", "MNN"),
    Target("tract", "tract", dynamic=("none",)),
    Target(
        "ncnn",
        "ncnn through pnnx",
        dynamic=("none",),
        passes=(*_PORTABLE_PASSES, "instance_moments", "sequence_as_plane"),
    ),
    Target(
        "tflite",
        "TFLite through onnx2tf",
        dynamic=("none",),
        passes=(*_PORTABLE_PASSES, "constants_at_rank"),
    ),
)


def find_target(name: str) -> Target:
    """A row of the table.

    Raises:
        ArgumentError: There is none with this name.
    """
    for target in TARGETS:
        if target.name == name:
            return target
    raise ArgumentError(
        f"there is no target {name!r}",
        expected=" or ".join(target.name for target in TARGETS),
        found=f"`target={name!r}`",
        hint="leave `target=` out for a file that every runtime reads",
    )


def dynamic_axes(name: str, dynamic: Dynamic | None) -> Dynamic:
    """The dynamic axes of a file for a target.

    Args:
        name: The target's name.
        dynamic: What was asked for; None for the target's default.

    Raises:
        ArgumentError: There is no such target, or it cannot have these.
    """
    target = find_target(name)
    if dynamic is None:
        return target.dynamic[0]
    if dynamic not in target.dynamic:
        allowed = " or ".join(map(repr, target.dynamic))
        cure = "leave `dynamic=` out, or `target=`"
        raise _beyond(target, f"`dynamic={dynamic!r}`", f"dynamic axes: {allowed}", cure)
    return dynamic


@dataclass(frozen=True)
class Settings:
    """What a file gets where the options leave it to the target.

    Attributes:
        target: What the file is for.
        opset: Its operator set.
        dynamic: Its dynamic axes.
    """

    target: Target
    opset: int
    dynamic: Dynamic


def settings_of(options: ExportOptions) -> Settings:
    """What the options and their target settle on.

    Raises:
        ArgumentError: There is no such target, or an option is beyond its limits.
    """
    target = find_target(options.target)
    opset, highest = options.opset, target.highest_opset
    if opset is None:
        opset = DEFAULT_OPSET if highest is None else min(DEFAULT_OPSET, highest)
    elif highest is not None and opset > highest:
        cure = f"leave `opset=` out, or pass `opset={highest}`"
        raise _beyond(target, f"`opset={opset}`", f"operator set {highest} or older", cure)
    version, newest = options.ir_version, target.highest_ir_version
    if version is not None and newest is not None and version > newest:
        given, expected = f"`ir_version={version}`", f"format version {newest} or older"
        raise _beyond(target, given, expected, "leave `ir_version=` out")
    return Settings(target, opset, dynamic_axes(options.target, options.dynamic))


def _beyond(target: Target, given: str, expected: str, cure: str) -> ArgumentError:
    return ArgumentError(
        f"{target.title} cannot read such a file",
        expected=expected,
        found=f"`target={target.name!r}` and {given}",
        hint=cure,
    )
