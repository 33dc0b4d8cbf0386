"""Whether labels are those of the classes that a network tells apart."""

from __future__ import annotations

from ssn_prune.errors import DataError
from ssn_prune.images.image_set import ImageSet, TargetKind
from ssn_prune.text import listed, printable

_HOLDING = "give the folder that holds the class folders, such as photos.zip/test"


def require_fitting(images: ImageSet, outputs: int) -> None:
    """Refuse class folders that are not the classes of the network.

    A class is the place of its folder among all folders in order, so one that is missing or added
    would shift all behind it.

    Args:
        images: What was opened.
        outputs: Number of classes of the network.

    Raises:
        DataError: There are more or fewer folders than classes.
    """
    if images.kind is not TargetKind.CLASSES or not images.classes:
        return
    if len(images.classes) != outputs:
        deeper = any(name.count("/") > 1 for name in images.names)
        inside = f"{images.source}/{images.classes[0]}"
        raise DataError(
            f"the images have {len(images.classes)} classes, and the network {outputs} outputs",
            expected=f"{outputs} class folders; one for a class without images may be empty",
            found=printable(listed(images.classes, 6)),
            hint=printable(f"give {inside}" if deeper else _HOLDING),
        )
