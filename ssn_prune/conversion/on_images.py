"""The original network and its file on the same images: accuracy, agreement, differences."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import torch
from torch import nn

from ssn_prune.accuracy.results import AccuracyReport
from ssn_prune.checkpoint.loading import LoadedCheckpoint
from ssn_prune.conversion.compared_images import ComparedImages
from ssn_prune.conversion.options import ConvertOptions
from ssn_prune.conversion.preprocessing import preprocessing_of, with_preprocessing
from ssn_prune.errors import ArgumentError, DataError
from ssn_prune.images.image_set import ImageSet, spread_evenly
from ssn_prune.images.opening import open_images
from ssn_prune.progress import Progress, no_progress
from ssn_prune.runtime.file_facts import FileFacts
from ssn_prune.runtime.process import TIMEOUT
from ssn_prune.surgery._shared_parameters import run_float32_copy
from ssn_prune.surgery.guest import guest
from ssn_prune.verification.facts import file_facts
from ssn_prune.verification.verify import apart, opening_of

_AT_ONCE = 16
_LARGEST_BATCH = 1 << 24  # elements of the input


def open_for(
    loaded: LoadedCheckpoint, data: str | Path, options: ConvertOptions, facts: FileFacts | None
) -> ImageSet:
    """Open images for a network.

    Args:
        loaded: The network.
        data: Where they are; see :func:`ssn_prune.open_images`.
        options: The options of the conversion, with the preprocessing.
        facts: What the file says of its inputs, for what ``options`` leave out; None if there is no
            file.

    Raises:
        DataError: They cannot be used.
        ArgumentError: The preprocessing does not fit the network.
    """
    if loaded.input_size is None or loaded.takes_images:
        raise DataError(
            "images cannot be compared for this network",
            expected="inputs of one size and outputs of scores",
            found="a detection model" if loaded.takes_images else "an input size that is not known",
            hint="it can be converted and verified without `data=`"
            if loaded.takes_images
            else "pass `input_size=`",
        )
    if facts is not None and facts.preprocessing is not None:
        options = with_preprocessing(options, facts.preprocessing.how, loaded)
    sizes = (loaded.input_size, *loaded.more_inputs)
    how = preprocessing_of(loaded, options)
    return open_images(data, preprocessing=how, input_sizes=sizes)


@guest()
def accuracy_on_images(
    loaded: LoadedCheckpoint,
    path: Path | str,
    data: str | Path | ImageSet,
    options: ConvertOptions | None = None,
    *,
    data_limit: int | None = None,
    timeout: float = TIMEOUT,
    provider: str = "cpu",
    trust_pt2: bool = False,
    from_report: Path | str | None = None,
    progress: Progress = no_progress,
) -> AccuracyReport:
    """Run the original network and its file on the same images.

    The original is the network of the checkpoint as its own code builds it, with its own gates. It
    runs in torch, in float32 on the CPU; the file runs in a process of its own.

    Args:
        loaded: Result of :func:`ssn_prune.load_checkpoint`; not changed.
        path: The file.
        data: An open image set, or where the images are; see :func:`ssn_prune.open_images`.
        options: The options of the conversion, with the preprocessing. What they leave out is taken
            from the file, or else from the architecture.
        data_limit: Number of images to use, spread evenly over all; None for all.
        timeout: Seconds that loading the file may take, and that each run of it may take.
        provider: ONNX Runtime's execution provider; see :func:`ssn_prune.verify`.
        trust_pt2: Open a torch program whatever is in it; see :func:`ssn_prune.verify`.
        from_report: Report of the conversion that wrote it; see :func:`ssn_prune.verify`.
        progress: Called with the name of each step before it starts.

    Raises:
        DataError: The images cannot be used, or their labels do not fit the outputs.
        InferenceRuntimeError: The file cannot be run, or takes too long.
        UntrustedFileError: The file is a torch program that nothing vouches for.
        CaptureError: The network cannot be run.
        ArgumentError: The preprocessing does not fit the network, or ``data_limit`` is below 1.
    """
    path, options = Path(path), options or ConvertOptions()
    if data_limit is not None and data_limit < 1:
        raise ArgumentError(
            "no images would be compared",
            expected="`data_limit=1` or more",
            found=f"`data_limit={data_limit}`",
            hint="leave `data_limit=` out for all images",
        )
    progress("opening the images")
    opening = opening_of(path, timeout, provider, (), trust_pt2=trust_pt2, from_report=from_report)
    facts = file_facts(path, timeout)
    images = data
    if isinstance(images, str | Path):
        images = open_for(loaded, images, options, facts)
    chosen = spread_evenly(len(images), data_limit)
    size = facts.batch or _batch_size(loaded)
    original = loaded.model if loaded.given is None else loaded.given
    with apart(path, replace(opening, each_run=True)) as file_format:
        run = file_format.open(path)

        def both(network: nn.Module) -> ComparedImages:
            found = ComparedImages(images)
            progress("comparing on images")
            for start in range(0, len(chosen), size):
                found.add(chosen[start : start + size], size, network, run, fixed=facts.batch)
            return found

        compared = run_float32_copy(original, both)
    return compared.report()


def _batch_size(loaded: LoadedCheckpoint) -> int:
    assert loaded.input_size is not None
    count = torch.Size(loaded.input_size).numel()
    return max(1, min(_AT_ONCE, _LARGEST_BATCH // max(1, count)))
