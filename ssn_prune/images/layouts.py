"""How images are labelled: by class folders, by maps in a folder next to them, or not at all."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from ssn_prune.errors import DataError
from ssn_prune.images.archives import FileTree, exists, no_images
from ssn_prune.images.decoding import is_image
from ssn_prune.images.image_set import TargetKind
from ssn_prune.text import printable, shown

_LABEL_FOLDERS = ("labels", "masks", "annotations")


@dataclass(frozen=True)
class Layout:
    """Where images and their labels are.

    Attributes:
        files: Where the image files are.
        names: Paths of the images in ``files``, sorted.
        kind: What is known about each image.
        classes: Names of the classes, if there are class folders.
        labels: The class of each image, if there are class folders.
        maps: Where the files of label maps are; None without maps.
        map_names: Paths in ``maps`` of each image's map.
    """

    files: FileTree
    names: tuple[str, ...]
    kind: TargetKind
    classes: tuple[str, ...] = ()
    labels: tuple[int, ...] = ()
    maps: FileTree | None = None
    map_names: tuple[str, ...] = ()


def layout_of(path: Path) -> Layout:
    """Find out how a folder or a zip is laid out.

    Args:
        path: A place with class folders as for torchvision's ImageFolder (``test/cat/1.jpg``); with
            label maps in files of the same names, either ``test`` next to ``testannot``, or
            ``images`` inside it next to ``labels``, ``masks`` or ``annotations``; or with images
            alone.

    Raises:
        DataError: There are no images, or an image lacks its label map, or a map its image.
    """
    files = FileTree(path)
    names = tuple(name for name in files.names if is_image(name))
    if not names:
        inside = [str(path / folder) for folder in files.folders]
        raise no_images(path, f"{len(files.names)} files of other kinds", inside)
    for images, maps in _pairs(path):
        if exists(images) and exists(maps):
            return _with_maps(FileTree(images), FileTree(maps))
    sets = [folder for folder in files.folders if f"{folder}annot" in files.folders]
    if sets:
        raise no_images(path, "several sets of images in it", [str(path / name) for name in sets])
    flat = [name for name in names if "/" not in name]
    if not flat and len(files.folders) == 1 and any(name.count("/") > 1 for name in names):
        return layout_of(path / files.folders[0])  # a zip of the folder, not of what is in it
    if flat:
        _require_flat(path, names, flat)
        return Layout(files, names, TargetKind.NONE)
    classes = tuple(files.folders)
    labels = tuple(classes.index(PurePosixPath(name).parts[0]) for name in names)
    return Layout(files, names, TargetKind.CLASSES, classes, labels)


def _pairs(path: Path) -> Iterator[tuple[Path, Path]]:
    """Where images and maps may be, the most specific first."""
    if path.name:
        yield path, path.with_name(f"{path.name}annot")
    for folder in _LABEL_FOLDERS:
        yield path / "images", path / folder


def _require_flat(path: Path, names: tuple[str, ...], flat: list[str]) -> None:
    if len(flat) < len(names):
        inside = next(name for name in names if "/" in name)
        raise DataError(
            f"{printable(str(path))} has images both inside folders and outside of them",
            expected="class folders, or images without classes",
            found=f"{shown(flat[0])} and {shown(inside)}",
            hint="move the images that belong to no class elsewhere",
        )


def _with_maps(images: FileTree, maps: FileTree) -> Layout:
    by_stem = {_stem(name): name for name in maps.names if is_image(name)}
    names = tuple(name for name in images.names if is_image(name))
    stems = [_stem(name) for name in names]
    alone = sorted(set(stems) ^ set(by_stem))
    if alone:
        where = images if alone[0] in stems else maps
        raise DataError(
            f"{printable(str(images.path))} and {printable(maps.path.name)} do not belong together",
            expected="a map of labels with the same name for every image",
            found=f"{len(stems)} images and {len(by_stem)} maps; {shown(alone[0])} is in "
            f"{printable(where.path.name)} only",
            hint="add what is missing, or remove the other one",
        )
    map_names = tuple(by_stem[stem] for stem in stems)
    return Layout(images, names, TargetKind.MAPS, maps=maps, map_names=map_names)


def _stem(name: str) -> str:
    return str(PurePosixPath(name).with_suffix(""))
