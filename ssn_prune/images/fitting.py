"""Whether labels fit the classes that a network distinguishes."""

from __future__ import annotations

from ssn_prune.errors import DataError
from ssn_prune.images.image_set import ImageSet, TargetKind
from ssn_prune.text import listed, printable

_HOLDING = "give the folder that holds the class folders, such as photos.zip/test"


def require_fitting(images: ImageSet, outputs: int) -> None:
    """Refuse class folders that are not the classes of the network.

    The number of a class is the position of its folder in the sorted list, so a missing or extra
    folder would shift all that follow.

    Args:
        images: The opened images.
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
