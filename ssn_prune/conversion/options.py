"""The options of a conversion."""

from __future__ import annotations

from dataclasses import dataclass

from ssn_prune.errors import ArgumentError
from ssn_prune.onnx_export.options import Dynamic, ExportOptions
from ssn_prune.onnx_export.targets import dynamic_axes
from ssn_prune.pruning.prune import OnUnconverged


@dataclass(frozen=True)
class ConvertOptions:
    """The options of a conversion.

    Attributes:
        on_unconverged: What to do with gates that are not one-hot; see :func:`ssn_prune.prune`.
        fold: Fold into convolutions and linear layers.
        algebra: Run the algebra check.
        rounding: Run the rounding check.
        target: The runtime that the file is for; see :data:`ssn_prune.onnx_export.targets.TARGETS`.
        dynamic: Which sizes are dynamic: ``"none"``, ``"batch"`` or ``"spatial"`` (both); by
            default ``"batch"``, or ``"none"`` for a target that takes no dynamic batch.
        static_batch: A fixed batch size, which implies ``dynamic="none"``. With ``dynamic="none"``
            alone the batch size is 1.
        opset: ONNX operator set, 13 to 21; at most 20 for detection models.
        ir_version: ONNX file format version; by default the oldest possible one.
        input_names: Names of the file's inputs, by default ``input``, ``input_1``, ...
        output_names: Names of its outputs, by default ``output`` or the keys of the results.
        mean: What is subtracted from pixels in [0, 1] to make an input: one number for all
            channels, or one per channel; by default the architecture's own. It is stored in the
            file.
        std: What the difference is divided by, in the same form.
        resize: Length of an image's shorter side before the centre crop; by default the
            architecture's own, or else the whole image is resized to the input size.
        embed_preprocessing: Make the normalization by mean and std a part of the file, which then
            takes pixels, uint8.
        preprocessing: Notes on the input's preprocessing, stored in the file.
        trust_running_statistics: Skip the test for running sums; see :func:`ssn_prune.prune`.
        allow_unverified_layers: Accept layers of another implementation that cannot run here.
        every_layer: Measure the error of every layer inside the file, for the report. Without it,
            only a file that fails is measured.
        format: The format of the file, such as ``"pt2"``; by default that of its suffix.
    """

    on_unconverged: OnUnconverged = "error"
    fold: bool = True
    algebra: bool = True
    rounding: bool = True
    target: str = ExportOptions.target
    dynamic: Dynamic | None = None
    static_batch: int | None = None
    opset: int = ExportOptions.opset
    ir_version: int | None = None
    input_names: tuple[str, ...] | None = None
    output_names: tuple[str, ...] | None = None
    mean: tuple[float, ...] | None = None
    std: tuple[float, ...] | None = None
    resize: int | None = None
    embed_preprocessing: bool = False
    preprocessing: str | None = None
    trust_running_statistics: bool = False
    allow_unverified_layers: bool = False
    every_layer: bool = False
    format: str | None = None

    @property
    def dynamic_axes(self) -> Dynamic:
        """Which sizes are dynamic, given the batch size and the target.

        Raises:
            ArgumentError: A fixed batch size and dynamic spatial sizes are asked for together, or
                the target takes no such sizes.
        """
        if self.static_batch is None:
            return dynamic_axes(self.target, self.dynamic)
        if self.dynamic == "spatial":
            raise ArgumentError(
                "a fixed batch size and dynamic spatial sizes exclude each other",
                expected="`static_batch=` or `dynamic='spatial'`",
                found=f"`static_batch={self.static_batch}` and `dynamic='spatial'`",
                hint="leave `static_batch=` out: such a file takes every batch size",
            )
        return "none"

    @property
    def fixed_batch(self) -> int | None:
        """The batch size of the file; None if it takes any.

        Raises:
            ArgumentError: See ``dynamic_axes``.
        """
        return (self.static_batch or 1) if self.dynamic_axes == "none" else None
