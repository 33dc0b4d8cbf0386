"""The members of a zip archive, by its central directory (APPNOTE 6.3.10, sections 4.3 and 4.5).

Only what torch.save writes is read: members that are stored as they are, not compressed, encrypted
or spread over disks. Whatever the archive states twice must agree.
"""

from __future__ import annotations

import struct
from collections.abc import Mapping
from dataclasses import dataclass, replace

from ssn_prune.checkpoint.file_storage import FileStorage
from ssn_prune.checkpoint.input_file import SAVE_WEIGHTS, InputFile, damaged
from ssn_prune.checkpoint.zip_end import UNSET_16, UNSET_32, find_directory
from ssn_prune.errors import CheckpointError
from ssn_prune.text import shown

_CENTRAL = struct.Struct("<4s6H3L5H2L")
_LOCAL = struct.Struct("<4s5H3L2H")
_MAX_DIRECTORY = 8 << 20  # bytes; torch needs about 70 for a tensor
_ENCRYPTED, _DESCRIPTOR, _UTF8 = 1, 1 << 3, 1 << 11


@dataclass(frozen=True, slots=True)
class Member:
    """An entry of the central directory.

    Attributes:
        name: Its name, with folders.
        size: Number of bytes.
        checksum: CRC-32.
        start: Where its local header begins.
        end: Where the next member or the directory begins.
        method: How it is compressed; 0 for not at all.
        flags: General purpose flags.
    """

    name: str
    size: int
    checksum: int
    start: int
    end: int
    method: int
    flags: int


@dataclass(frozen=True)
class ZipDirectory:
    """The members of an archive, and access to their bytes.

    Attributes:
        file: The archive.
        members: The members by name.
        has_checksums: False if every member has CRC 0, as torch writes with
            ``set_crc32_options(False)``.
    """

    file: InputFile
    members: Mapping[str, Member]
    has_checksums: bool

    def storage(self, name: str, *, big_endian: bool = False) -> FileStorage:
        """The bytes of a member.

        Raises:
            CheckpointError: There is no such member, or its local header contradicts the directory.
        """
        member = self.members.get(name)
        if member is None:
            raise damaged(self.file.path, f"no member {shown(name)} in the archive")
        start = _data_start(self.file, member)
        checksum = member.checksum if self.has_checksums else None
        return FileStorage(
            self.file,
            start,
            member.size,
            label=shown(name),
            checksum=checksum,
            big_endian=big_endian,
        )

    def read(self, name: str, limit: int) -> bytes:
        """All bytes of a small member.

        Raises:
            CheckpointError: It is missing, damaged, or has more than ``limit`` bytes.
        """
        storage = self.storage(name)
        if storage.size > limit:
            raise CheckpointError(
                f"{self.file.path}: {shown(name)} is too large",
                expected=f"at most {limit} bytes besides the tensors",
                found=f"{storage.size} bytes",
                hint=f"save the weights alone: {SAVE_WEIGHTS}",
            )
        return storage.read(0, storage.size)


def read_directory(file: InputFile) -> ZipDirectory:
    """Read the list of members.

    Raises:
        CheckpointError: The archive is damaged, contradicts itself, or has members twice.
    """
    start, size, count = find_directory(file)
    if size > _MAX_DIRECTORY:
        raise damaged(file.path, f"a list of members of {size} bytes")
    data = file.read(start, start + size)
    entries, place = [], 0
    while place < size:
        entry, place = _central_entry(file, data, place)
        entries.append(entry)
    if len(entries) != count:
        raise damaged(file.path, f"{len(entries)} members in an archive of {count}")
    return _checked(file, entries, start)


def _checked(file: InputFile, entries: list[Member], directory: int) -> ZipDirectory:
    """Set where each member must end, and refuse those that overlap or have the same name."""
    members: dict[str, Member] = {}
    has_checksums = False
    limit = directory
    entries.sort(key=lambda entry: entry.start)
    while entries:  # from the last to the first, so that the list shrinks as the dict grows
        entry = entries.pop()
        if entry.start + _LOCAL.size + entry.size > limit:
            raise damaged(file.path, f"the member {shown(entry.name)} overlaps what follows it")
        if entry.name in members:
            raise damaged(file.path, f"two members are called {shown(entry.name)}")
        members[entry.name] = replace(entry, end=limit)
        has_checksums |= bool(entry.size and entry.checksum)
        limit = entry.start
    return ZipDirectory(file, members, has_checksums)


def _central_entry(file: InputFile, data: bytes, place: int) -> tuple[Member, int]:
    """The entry at ``place`` of the central directory, and where the next one is."""
    if place + _CENTRAL.size > len(data):
        raise damaged(file.path, "the list of members ends within an entry")
    fields = _CENTRAL.unpack_from(data, place)
    signature, _, _, flags, method, _, _, checksum, packed, size = fields[:10]
    name_length, extra_length, comment_length, disk = fields[10:14]
    start = fields[16]
    name_start = place + _CENTRAL.size
    extra_start = name_start + name_length
    stop = extra_start + extra_length + comment_length
    if signature != b"PK\x01\x02" or stop > len(data):
        raise damaged(file.path, "the list of members is cut off or overwritten")
    name = _decode(data[name_start:extra_start], flags)
    extra = data[extra_start : extra_start + extra_length]
    size, packed, start = _widen(file, extra, (size, packed, start))
    if disk not in (0, UNSET_16):
        raise damaged(file.path, "an archive over several disks")
    if method == 0 and packed != size:
        raise damaged(file.path, f"{shown(name)} has two sizes, {size} and {packed} bytes")
    # What counts for overlaps is the size of a compressed member in the archive.
    return Member(name, packed, checksum, start, 0, method, flags), stop


def _widen(file: InputFile, extra: bytes, values: tuple[int, ...]) -> tuple[int, ...]:
    """Take sizes and places that need 64 bits from the extra field 0x0001."""
    if UNSET_32 not in values:
        return values
    place = 0
    while place + 4 <= len(extra):
        kind, length = struct.unpack_from("<2H", extra, place)
        if kind == 1 and place + 4 + length <= len(extra):
            wanted = sum(value == UNSET_32 for value in values)
            if length >= 8 * wanted:
                wide = iter(struct.unpack_from(f"<{wanted}Q", extra, place + 4))
                return tuple(next(wide) if value == UNSET_32 else value for value in values)
        place += 4 + length
    raise damaged(file.path, "a member of over 4 GB without its size")


def _data_start(file: InputFile, member: Member) -> int:
    """Where the bytes of a member begin; its local header is compared with the directory first."""
    if member.flags & _ENCRYPTED:
        raise _packed(file, member, "is encrypted")
    if member.method != 0:
        raise _packed(file, member, "is compressed")
    fields = _LOCAL.unpack(file.read(member.start, member.start + _LOCAL.size))
    signature, _, flags, method, _, _, checksum, packed, size, name_length, extra_length = fields
    name_start = member.start + _LOCAL.size
    start: int = name_start + name_length + extra_length
    if start + member.size > member.end:
        raise damaged(file.path, f"the member {shown(member.name)} overlaps what follows it")
    rest = file.read(name_start, start)
    if flags & _DESCRIPTOR and not (checksum or packed or size):
        same = True  # size and checksum follow the data; the directory has them too
    else:
        size, packed = _widen(file, rest[name_length:], (size, packed))
        same = (size, packed, checksum) == (member.size, member.size, member.checksum)
    named = _decode(rest[:name_length], flags) == member.name
    if signature != b"PK\x03\x04" or method or flags != member.flags or not (same and named):
        raise damaged(file.path, f"{shown(member.name)} is described differently in two places")
    return start


def _packed(file: InputFile, member: Member, how: str) -> CheckpointError:
    return CheckpointError(
        f"{file.path}: {shown(member.name)} {how}",
        expected="an archive as torch.save writes it, whose members are stored uncompressed",
        found=f"compression method {member.method}, flags {member.flags:#x}",
        hint="read it with torch.load in an environment that you trust and save the weights with "
        + SAVE_WEIGHTS,
    )


def _decode(name: bytes, flags: int) -> str:
    return name.decode("utf-8" if flags & _UTF8 else "cp437", "backslashreplace")
