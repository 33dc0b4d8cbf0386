"""The files that torch.save wrote before PyTorch 1.6, and still can write.

They are five pickles in a row: a magic number, the version of the format, the machine, the object,
and the keys of its storages. Then each storage follows: its number of elements, then its bytes,
always in little-endian order. There are no checksums.
"""

from __future__ import annotations

from ssn_prune.checkpoint.file_storage import FileStorage, Window
from ssn_prune.checkpoint.input_file import InputFile, damaged
from ssn_prune.checkpoint.persistent_id import PersistentId, parse_persistent_id
from ssn_prune.checkpoint.reading_pickles import plain_pickle, read_pickle
from ssn_prune.checkpoint.stored import Storage
from ssn_prune.checkpoint.unpickling import FindStorage
from ssn_prune.text import shown

_MAGIC = 0x1950A86A20F9469CFC6C
_VERSION = 1001


def read_legacy(file: InputFile) -> object:
    """Read a file in this format.

    Returns:
        The pickled object.

    Raises:
        CheckpointError: The file is damaged or of another kind.
        UnsafeCheckpointError: One of its pickles asks for a global that could execute code.
    """
    storages: dict[str, FileStorage] = {}
    widths: dict[str, int] = {}

    def find_storage(persistent_id: object) -> tuple[Storage, str | None]:
        found = parse_persistent_id(file.path, persistent_id)
        storage = storages.get(found.key)
        if storage is None:
            # Its place is known once the keys are read.
            storage = FileStorage(file, 0, found.size, label=f"storage {shown(found.key)}")
            storages[found.key], widths[found.key] = storage, found.width
        if storage.size != found.size or widths[found.key] != found.width:
            raise damaged(file.path, f"the storage {shown(found.key)} has two sizes or types")
        return _viewed(file, storage, found), found.dtype

    def no_storage(_persistent_id: object) -> tuple[Storage, str | None]:
        raise damaged(file.path, "a storage before the object")

    magic, place = _next(file, 0, no_storage)
    if magic != _MAGIC:
        raise plain_pickle(file.path)
    version, place = _next(file, place, no_storage)
    if version != _VERSION:
        raise damaged(file.path, "an unknown version of the format")
    _, place = _next(file, place, no_storage)  # the machine that wrote it
    value, place = _next(file, place, find_storage)
    keys, place = _next(file, place, no_storage)
    if not isinstance(keys, list) or not all(isinstance(key, str) for key in keys):
        raise damaged(file.path, "no list of storages after the object")
    if len(keys) != len(set(keys)) or set(keys) != storages.keys():
        raise damaged(file.path, f"{len(keys)} storages stored, {len(storages)} referred to")
    for key in keys:
        storage, width = storages[key], widths[key]
        numel = int.from_bytes(file.read(place, place + 8), "little", signed=True)
        if numel * width != storage.size:
            raise damaged(
                file.path,
                f"the storage {shown(key)} has {numel} elements, its tensors say "
                f"{storage.size // width}",
            )
        storage.start = place + 8
        place = storage.start + storage.size
        if place > file.size:
            raise damaged(file.path, f"{file.size} bytes; the storage {shown(key)} ends at {place}")
    return value


def _next(file: InputFile, place: int, find_storage: FindStorage) -> tuple[object, int]:
    rest = FileStorage(file, place, file.size - place, label="pickle")
    value, length = read_pickle(file.path, rest, find_storage)
    return value, place + length


def _viewed(file: InputFile, storage: FileStorage, found: PersistentId) -> Storage:
    view = found.view
    if view is None:
        return storage
    if view.start + view.size > storage.size:
        raise damaged(file.path, f"a view beyond the end of the storage {shown(found.key)}")
    return Window(storage, view.start, view.size)
