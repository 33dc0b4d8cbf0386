"""What a file is for: the runtimes, what each can read, and which forms suit it best.

The default file is the portable one, which all of them read. A row differs from it only where that
file fails in the runtime or is slower there; ``docs/targets.md`` has the measurements.
"""

from __future__ import annotations

from dataclasses import dataclass

from ssn_prune.errors import ArgumentError
from ssn_prune.onnx_export.options import Dynamic, ExportOptions

_PORTABLE_PASSES = (
    "scale_and_shift",
    "bias_with_mean",
    "channel_sum_1d",
    "max_pool_first",
    "two_axes",
    "never_one_axis",
)


@dataclass(frozen=True)
class Target:
    """A kind of file.

    Attributes:
        name: Its name in options, reports and metadata.
        title: Name of the runtime, for people.
        dynamic: Which axes may be dynamic, the default first.
        passes: Codes of the passes over the exported graph, rows of
            :data:`ssn_prune.onnx_export.passes.table.PASSES`.
        pixels: Whether its runtime takes files whose input is uint8.
    """

    name: str
    title: str
    dynamic: tuple[Dynamic, ...] = ("batch", "spatial", "none")
    passes: tuple[str, ...] = _PORTABLE_PASSES
    pixels: bool = True


PORTABLE = "portable"
TARGETS: tuple[Target, ...] = (
    Target(PORTABLE, "every runtime"),
    Target("onnxruntime", "ONNX Runtime", passes=("one_sample", *_PORTABLE_PASSES)),
    Target("openvino", "OpenVINO"),
    Target(
        "opencv",
        "OpenCV",
        passes=(*_PORTABLE_PASSES, "instance_moments", "plane_moments", "one_axis"),
    ),
    Target("mnn", "MNN"),
    Target("tract", "tract"),
    Target(
        "ncnn",
        "ncnn through pnnx",
        dynamic=("none",),
        pixels=False,
        passes=(*_PORTABLE_PASSES, "instance_moments", "sequence_as_plane"),
    ),
    Target(
        "tflite",
        "TFLite through onnx2tf",
        dynamic=("none",),
        pixels=False,
        passes=(*_PORTABLE_PASSES, "constants_at_rank"),
    ),
)
"""All of them read operator sets 13 to 21. A row like the first one means that the runtime was
measured and needs nothing else."""


def find_target(name: str) -> Target:
    """The target with a name.

    Raises:
        ArgumentError: There is no such target.
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
        ArgumentError: There is no such target, or it does not support these axes.
    """
    target = find_target(name)
    if dynamic is None:
        return target.dynamic[0]
    if dynamic not in target.dynamic:
        raise ArgumentError(
            f"{target.title} cannot read such a file",
            expected=f"dynamic axes: {' or '.join(map(repr, target.dynamic))}",
            found=f"`target={name!r}` and `dynamic={dynamic!r}`",
            hint="leave `dynamic=` out, or `target=`",
        )
    return dynamic


@dataclass(frozen=True)
class Settings:
    """The target of a file and its dynamic axes, as the options and defaults decide.

    Attributes:
        target: What the file is for.
        dynamic: Its dynamic axes.
    """

    target: Target
    dynamic: Dynamic


def settings_of(options: ExportOptions) -> Settings:
    """The settings that follow from the options.

    Raises:
        ArgumentError: There is no such target, or it does not support these axes.
    """
    dynamic = dynamic_axes(options.target, options.dynamic)
    return Settings(find_target(options.target), dynamic)
