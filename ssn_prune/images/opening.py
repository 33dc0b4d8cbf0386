"""open_images: opens a folder, a zip, arrays or a loader, all with one interface."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from ssn_prune.errors import DataError
from ssn_prune.images.image_arrays import image_arrays
from ssn_prune.images.image_files import ImageFiles
from ssn_prune.images.image_set import ImageSet
from ssn_prune.images.layouts import layout_of
from ssn_prune.images.loaders import is_loader, read_loader
from ssn_prune.images.npz import read_npz
from ssn_prune.images.preprocessing import Preprocessing
from ssn_prune.text import printable


def open_images(
    source: str | Path,
    *,
    preprocessing: Preprocessing | None,
    input_sizes: Sequence[tuple[int, ...]],
) -> ImageSet:
    """Open images for a network.

    Args:
        source: A folder, a zip or a folder inside a zip (``photos.zip/test``) with class folders,
            with label maps in a folder next to the images, or with images alone; an .npz file; or
            ``package.module:loader``, whose code is run, so it must be a name that the user gave.
        preprocessing: How pictures and uint8 arrays become inputs. Other arrays must already be
            normalized.
        input_sizes: The size of each input of the network, without the batch axis.

    Returns:
        The images. Files are read when they are asked for; batches of a loader are kept in memory.

    Raises:
        DataError: There are no images or they do not fit the network; see :class:`DataError`.
        ArgumentError: A loader ends the program.
    """
    text = str(source)
    path = Path(source)
    if is_loader(text) and not path.exists():
        arrays, labels = read_loader(text, len(input_sizes))
        return image_arrays(text, arrays, labels, preprocessing, input_sizes)
    if path.suffix.lower() == ".npz":
        arrays, labels = read_npz(path, len(input_sizes))
        return image_arrays(text, arrays, labels, preprocessing, input_sizes)
    layout = layout_of(path)
    if len(input_sizes) != 1 or len(input_sizes[0]) != 3:
        sizes = " and ".join(map(str, input_sizes))
        raise DataError(
            f"the network does not take single images: its inputs are {sizes}",
            expected="arrays (.npz), or a loader package.module:name",
            found=f"files of images in {printable(text)}",
            hint="save the inputs as arrays: numpy.savez('data.npz', images=x, labels=y)",
        )
    if preprocessing is None:
        raise DataError(
            "how images become inputs of this network is not known",
            expected="`mean=` and `std=` of the training, in units of the largest value of a pixel",
            found="an architecture that has none of its own",
            hint="for example `mean=0.5` and `std=0.5`, if the training scaled pixels to -1 ... 1",
        )
    return ImageFiles(text, layout, preprocessing)
