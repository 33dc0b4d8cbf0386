"""The zip archives of torch.save: one pickle, and a member per storage.

ROOT/data.pkl refers to ROOT/data/KEY; ROOT/byteorder says in which order bytes are stored. Other
kinds of zip archives are recognised by their members.
"""

from __future__ import annotations

import re

from ssn_prune.checkpoint.file_storage import FileStorage
from ssn_prune.checkpoint.input_file import SAVE_WEIGHTS, InputFile, damaged
from ssn_prune.checkpoint.persistent_id import parse_persistent_id
from ssn_prune.checkpoint.reading_pickles import read_pickle
from ssn_prune.checkpoint.recognition import another_kind
from ssn_prune.checkpoint.stored import Storage
from ssn_prune.checkpoint.zip_directory import ZipDirectory, read_directory
from ssn_prune.errors import CheckpointError
from ssn_prune.text import shown

_SAVE = f"save the weights with {SAVE_WEIGHTS}"

# By a pattern of members' names: what writes such archives, and how to get at the weights.
_OTHERS: tuple[tuple[str, str, str], ...] = (
    (
        r"[^/]+/(code/.*|constants\.pkl|model\.json)",
        "a TorchScript archive",
        "load it with torch.jit.load(path) and " + _SAVE,
    ),
    (
        r"([^/]+/)?(archive_format|models/.*\.json|serialized_exported_program\.json)",
        "an exported program (torch.export, .pt2)",
        "load it with torch.export.load(path) and save the weights with "
        "torch.save(program.state_dict, path)",
    ),
    (
        r"[^/]+/\.data/extern_modules",
        "a torch.package archive",
        f"load it with torch.package.PackageImporter and {_SAVE}",
    ),
    (
        r".*\.npy",
        "an archive of NumPy arrays (.npz)",
        f"load the arrays into the network in PyTorch with load_state_dict and {_SAVE}",
    ),
    (r"(model\.weights\.h5|.*\.keras)", "a Keras archive", f"load it in PyTorch and {_SAVE}"),
)


def read_zip(file: InputFile) -> tuple[object, bool]:
    """Read an archive of torch.save.

    Returns:
        The pickled object, and whether its bytes have checksums.

    Raises:
        CheckpointError: The archive is damaged or of another kind.
        UnsafeCheckpointError: Its pickle asks for a global that could execute code.
    """
    archive = read_directory(file)
    root = _root(archive)
    order = f"{root}/byteorder"
    stated = archive.read(order, 16) if order in archive.members else b"little"
    if stated not in (b"little", b"big"):
        raise damaged(file.path, f"the order of bytes {stated!r}")
    storages: dict[str, FileStorage] = {}

    def find_storage(persistent_id: object) -> tuple[Storage, str | None]:
        found = parse_persistent_id(file.path, persistent_id)
        if found.key not in storages:
            name = f"{root}/data/{found.key}"
            storages[found.key] = archive.storage(name, big_endian=stated == b"big")
        storage = storages[found.key]
        if storage.size != found.size or found.view:
            raise damaged(
                file.path,
                f"the storage {shown(found.key)} has {storage.size} bytes, its tensors say "
                f"{found.size}",
            )
        return storage, found.dtype

    pickled = archive.storage(f"{root}/data.pkl")
    value, end = read_pickle(file.path, pickled, find_storage)
    if end != pickled.size:
        raise damaged(file.path, f"{pickled.size - end} bytes after the end of the pickle")
    return value, archive.has_checksums


def _root(archive: ZipDirectory) -> str:
    """The folder in the archive, which is named after the file that was first written."""
    names = archive.members
    for pattern, kind, hint in _OTHERS:
        if any(re.fullmatch(pattern, name) for name in names):
            raise another_kind(archive.file, kind, hint)
    roots = [name.removesuffix("/data.pkl") for name in names if name.endswith("/data.pkl")]
    roots = [root for root in roots if "/" not in root]
    if len(roots) != 1:
        raise _not_torch(archive.file, sorted(names), len(roots))
    return roots[0]


def _not_torch(file: InputFile, names: list[str], pickles: int) -> CheckpointError:
    if pickles:
        return damaged(file.path, f"{pickles} checkpoints in one archive")
    inside = [name for name in names if name.endswith((".pt", ".pth", ".ckpt", ".safetensors"))]
    first = ", ".join(map(shown, names[:3])) or "nothing"
    return another_kind(
        file,
        f"a zip archive with {first}",
        f"unpack it and give {shown(inside[0])}" if inside else f"in PyTorch, {_SAVE}",
    )
