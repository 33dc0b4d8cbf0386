"""``--data``: images to compare the original network and the file on."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ssn_prune.errors import ArgumentError, DataError

if TYPE_CHECKING:
    from ssn_prune.accuracy.results import AccuracyReport
    from ssn_prune.checkpoint.loading import LoadedCheckpoint
    from ssn_prune.conversion import ConvertOptions
    from ssn_prune.images.image_set import ImageSet
    from ssn_prune.progress import Progress


def require_data(data: str | None, limit: int | None) -> None:
    """Refuse ``--data-limit`` without ``--data``.

    Raises:
        ArgumentError: There is a limit, but there are no images.
    """
    if data is None and limit is not None:
        raise ArgumentError(
            "--data-limit says how many images are used, but there are none",
            expected="--data with images",
            found=f"--data-limit {limit} alone",
            hint="leave --data-limit out",
        )


def data_files(given: Mapping[str, str | None]) -> dict[str, Path]:
    """The files or folders that images are read from, by option; the zip of ``photos.zip/test``."""
    found = {}
    for option, source in given.items():
        if source is not None:
            path = Path(source)
            found[option] = next((p for p in (path, *path.parents) if p.is_file()), path)
    return found


def opened_images(
    loaded: LoadedCheckpoint,
    data: str | None,
    options: ConvertOptions,
    *,
    file: Path | None = None,
    timeout: float = 0,
) -> ImageSet | None:
    """Open the images before the slow work starts; None if none are given.

    Args:
        loaded: The network.
        data: Where the images are.
        options: Conversion options, with the preprocessing of the images.
        file: An exported file, whose metadata fills in the preprocessing that is not given.
        timeout: Seconds that reading the file may take.
    """
    if data is None:
        return None
    from ssn_prune.conversion.on_images import open_for
    from ssn_prune.verification.facts import file_facts

    return open_for(loaded, data, options, None if file is None else file_facts(file, timeout))


@contextmanager
def still_written(path: Path) -> Iterator[None]:
    """Add to an error in the images that the file was written nevertheless."""
    try:
        yield
    except DataError as error:
        raise DataError(
            f"{error.problem}; {path} was written and verified",
            expected=error.expected,
            found=error.found,
            hint=error.hint,
        ) from error


def compared(
    loaded: LoadedCheckpoint,
    path: Path,
    images: ImageSet | None,
    limit: int | None,
    step: Progress,
    **how: Any,
) -> AccuracyReport | None:
    """Compare the file with its original; None if no images are given.

    ``how`` holds the arguments of :func:`ssn_prune.accuracy_on_images` for opening the file.
    """
    if images is None:
        return None
    from ssn_prune.conversion.on_images import accuracy_on_images

    return accuracy_on_images(loaded, path, images, data_limit=limit, progress=step, **how)
