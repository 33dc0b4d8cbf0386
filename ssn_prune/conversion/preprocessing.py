"""How images become inputs of a loaded network: as given, or as its architecture expects."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from torch import Tensor

from ssn_prune.checkpoint.loading import LoadedCheckpoint
from ssn_prune.conversion.options import ConvertOptions
from ssn_prune.errors import ArgumentError
from ssn_prune.export_formats import format_of
from ssn_prune.images.pixels import normalized, pixels_behind
from ssn_prune.images.preprocessing import Preprocessing, preprocessing_for
from ssn_prune.text import printable

Batch = tuple[Tensor, ...]


def preprocessing_of(loaded: LoadedCheckpoint, options: ConvertOptions) -> Preprocessing | None:
    """How images become inputs.

    Args:
        loaded: The network.
        options: The options of the conversion, with what is given of the preprocessing.

    Returns:
        The preprocessing; None if the network does not take images, or nothing is known.

    Raises:
        ArgumentError: What is given, or is to be embedded, does not fit the network.
    """
    given = (options.mean, options.std, options.resize)
    single = loaded.input_size is not None and not loaded.more_inputs and not loaded.takes_images
    found = None
    if single and loaded.input_size is not None:
        found = preprocessing_for(
            loaded.input_size,
            loaded.preprocessing,
            mean=options.mean,
            std=options.std,
            resize=options.resize,
        )
    if found is None and (options.embed_preprocessing or any(v is not None for v in given)):
        sizes = [size for size in (loaded.input_size, *loaded.more_inputs) if size]
        images = single and len(sizes[0]) == 3
        raise ArgumentError(
            "how images become inputs of this network is not known"
            if images
            else "the network does not take images, one tensor (N, C, H, W)",
            expected="`mean=` and `std=` of the training, in units of the largest value of a pixel"
            if images
            else "a network with one input, (N, C, H, W)",
            found=f"inputs of {' and '.join(map(str, sizes)) or 'a size that is not known'}",
            hint="for example `mean=0.5` and `std=0.5`, if the training scaled pixels to -1 ... 1"
            if images
            else "leave `mean=`, `std=`, `resize=` and `embed_preprocessing=` out",
        )
    return found


def require_embeddable(loaded: LoadedCheckpoint, path: Path, options: ConvertOptions) -> None:
    """Refuse at once preprocessing that is not known, or that a file cannot contain.

    Raises:
        ArgumentError: The preprocessing cannot be embedded, or does not fit the network.
    """
    preprocessing_of(loaded, options)
    if options.embed_preprocessing and format_of(path, options.format).name != "onnx":
        raise ArgumentError(
            "only ONNX files can contain the preprocessing",
            expected="an ONNX file",
            found=printable(path.name),
            hint="leave `embed_preprocessing=` out, or convert to ONNX",
        )


def with_preprocessing(
    options: ConvertOptions, how: Preprocessing, loaded: LoadedCheckpoint
) -> ConvertOptions:
    """The options, completed with what a file says. Its ``resize`` holds for its own size only."""
    resize = how.resize if how.size == loaded.input_size else None
    return replace(
        options,
        mean=options.mean or how.mean,
        std=options.std or how.std,
        resize=options.resize or resize,
    )


def of_pixels(batches: list[Batch], how: Preprocessing) -> list[Batch]:
    """The nearest inputs that can be made from pixels, for a file that takes pixels."""
    return [(normalized(pixels_behind(batch[0], how), how),) for batch in batches]
