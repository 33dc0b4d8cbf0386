"""The options of an export, and the values that they may have."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal, get_args

from ssn_prune.errors import ArgumentError
from ssn_prune.files import SINGLE_FILE_LIMIT
from ssn_prune.images.preprocessing import Preprocessing
from ssn_prune.onnx_export.ir_version import ir_version_of_opset, require_ir_version
from ssn_prune.text import shown

Dynamic = Literal["none", "batch", "spatial"]
DEFAULT_OPSET = 18
OLDEST_OPSET, NEWEST_OPSET = 13, 21


@dataclass(frozen=True)
class ExportOptions:
    """The options of an export.

    Attributes:
        target: The runtime that the file is for; a row of
            :data:`ssn_prune.onnx_export.targets.TARGETS`.
        opset: ONNX operator set, 13 to 21; at most 20 for detection models, which are traced.
        ir_version: ONNX file format version; by default the oldest that the operator set and the
            content allow, since newer ones shut out older runtimes.
        dynamic: Which axes of the inputs are dynamic: ``"none"``, ``"batch"`` (axis 0) or
            ``"spatial"`` (axis 0 and those after the channels); by default ``"batch"``, or
            ``"none"`` for a target that takes no dynamic batch.
        input_names: Names of the inputs, by default ``input``, ``input_1``, ...
        output_names: Names of the outputs, by default ``output`` or the keys of the network's
            results.
        embedded: How the file normalizes pixels, uint8, itself; None if it takes the inputs of the
            network.
        metadata: Strings to store in the file.
        layer_paths: For each normalization layer, the modules whose output equals its own. The
            names of these values are stored in the file, so that a check can read them.
        single_file_limit: Bytes of weights above which they are written to a file of their own.
    """

    target: str = "portable"
    opset: int = DEFAULT_OPSET
    ir_version: int | None = None
    dynamic: Dynamic | None = None
    input_names: tuple[str, ...] | None = None
    output_names: tuple[str, ...] | None = None
    embedded: Preprocessing | None = None
    metadata: Mapping[str, str] | None = None
    layer_paths: Mapping[str, tuple[str, ...]] | None = None
    single_file_limit: int = SINGLE_FILE_LIMIT


def require_known(options: ExportOptions) -> None:
    """Refuse options with invalid values.

    Raises:
        ArgumentError: Two inputs or outputs have the same name, a name is empty or cannot be
            printed, or there is no such operator set, format version or kind of dynamic axes.
    """
    names = [*(options.input_names or ()), *(options.output_names or ())]
    unprintable = [name for name in names if not name.isprintable()]
    if unprintable:
        raise ArgumentError(
            "a name of an input or output has characters that cannot be printed",
            expected="names such as image and scores",
            found=shown(unprintable[0]),
            hint="leave them out",
        )
    if len(set(names)) != len(names) or "" in names:
        raise ArgumentError(
            "two inputs or outputs of a file cannot have the same name, and none can be empty",
            expected="a name of its own for each input and output",
            found=", ".join(map(repr, names)),
            hint="leave `input_names=` and `output_names=` out to get input, output and the like",
        )
    if options.dynamic is not None and options.dynamic not in get_args(Dynamic):
        raise ArgumentError(
            f"unknown kind of dynamic axes {options.dynamic!r}",
            expected=" or ".join(get_args(Dynamic)),
            found=repr(options.dynamic),
            hint="leave `dynamic=` out, which makes the batch size dynamic",
        )
    require_versions(options.opset, options.ir_version)


def require_versions(opset: int, ir_version: int | None) -> None:
    """Refuse an operator set or a format version that no file can have.

    Raises:
        ArgumentError: The operator set cannot be exported, or not with such a format version.
    """
    if not OLDEST_OPSET <= opset <= NEWEST_OPSET:
        raise ArgumentError(
            f"operator set {opset} cannot be exported",
            expected=f"{OLDEST_OPSET} to {NEWEST_OPSET}",
            found=f"`opset={opset}`",
            hint=f"pass `opset={DEFAULT_OPSET}`: every current runtime reads it",
        )
    require_ir_version(ir_version, ir_version_of_opset(opset), f"operator set {opset}")
