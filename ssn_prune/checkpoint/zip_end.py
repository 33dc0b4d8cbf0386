"""The end of a zip archive, which says where its central directory is (APPNOTE, section 4.3)."""

from __future__ import annotations

import struct

from ssn_prune.checkpoint.input_file import InputFile, damaged

_END = struct.Struct("<4s4H2LH")
_LOCATOR = struct.Struct("<4sLQL")
_END_64 = struct.Struct("<4sQ2H2L4Q")
_MAX_COMMENT = 0xFFFF
UNSET_32, UNSET_16 = 0xFFFFFFFF, 0xFFFF


def find_directory(file: InputFile) -> tuple[int, int, int]:
    """Start, size and number of entries of the central directory.

    Raises:
        CheckpointError: There is no end record, or it contradicts itself or the size of the file.
    """
    tail_start = max(0, file.size - _END.size - _MAX_COMMENT)
    tail = file.read(tail_start, file.size)
    place = tail.rfind(b"PK\x05\x06")
    while place >= 0:
        if place + _END.size <= len(tail):
            fields = _END.unpack_from(tail, place)
            if place + _END.size + fields[7] == len(tail):
                break
        place = tail.rfind(b"PK\x05\x06", 0, place)
    if place < 0:
        raise damaged(file.path, f"{file.size} bytes without the end of a zip archive")
    _, disk, first_disk, here, count, size, start, _ = fields
    end = tail_start + place
    wide = _find_directory_64(file, end)
    if wide is not None:
        end, (count_64, size_64, start_64) = wide[0], wide[1:]
        narrow = (
            (count, UNSET_16, count_64),
            (size, UNSET_32, size_64),
            (start, UNSET_32, start_64),
        )
        if any(short not in (unset, long) for short, unset, long in narrow):
            raise damaged(file.path, "two ends of the archive that contradict each other")
        count, size, start = count_64, size_64, start_64
    elif here != count:
        raise damaged(file.path, "an archive over several disks")
    if (disk, first_disk) not in ((0, 0), (UNSET_16, UNSET_16)):
        raise damaged(file.path, "an archive over several disks")
    if start + size != end:
        raise damaged(
            file.path, f"a list of members from {start} to {start + size}, not up to its end {end}"
        )
    return start, size, count


def _find_directory_64(file: InputFile, end: int) -> tuple[int, int, int, int] | None:
    """The end record of archives over 4 GB: its start, and the directory's entries, size, start."""
    if end < _LOCATOR.size + _END_64.size:
        return None
    signature, _, place, _ = _LOCATOR.unpack(file.read(end - _LOCATOR.size, end))
    if signature != b"PK\x06\x07":
        return None
    if place + _END_64.size != end - _LOCATOR.size:
        raise damaged(file.path, f"the end of a zip archive refers to byte {place}")
    fields = _END_64.unpack(file.read(place, place + _END_64.size))
    if fields[0] != b"PK\x06\x06" or fields[4:6] != (0, 0) or fields[6] != fields[7]:
        raise damaged(file.path, "the end of a zip archive contradicts itself")
    return place, fields[7], fields[8], fields[9]
