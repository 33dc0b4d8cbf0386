"""Helpers for the tests of the unpickler: storages, and a comparison with Python's pickle."""

from __future__ import annotations

import io
import pickle
import zipfile

import torch

from ssn_prune.checkpoint.stored import Storage
from ssn_prune.checkpoint.unpickling import Inert, Pairs, PickleError, unpickle

ALL_PROTOCOLS = range(pickle.HIGHEST_PROTOCOL + 1)
DTYPES = {
    "DoubleStorage": "float64",
    "FloatStorage": "float32",
    "HalfStorage": "float16",
    "BFloat16Storage": "bfloat16",
    "LongStorage": "int64",
    "IntStorage": "int32",
    "ShortStorage": "int16",
    "CharStorage": "int8",
    "ByteStorage": "uint8",
    "BoolStorage": "bool",
    "ComplexFloatStorage": "complex64",
    "QInt8Storage": "qint8",
    "UntypedStorage": None,
}
WIDTH = {"float64": 8, "int64": 8, "complex64": 8, "float32": 4, "int32": 4, "int16": 2}
WIDTH |= {"float16": 2, "bfloat16": 2}


class FakeStorage(Storage):
    def __init__(self, data: bytes, size: int | None = None) -> None:
        self.data = data
        self.size = len(data) if size is None else size

    def read(self, start: int, stop: int) -> bytes:
        return self.data[start:stop]


def no_storage(identity):
    raise AssertionError(f"a storage was asked for: {identity}")


def sized_storages(identity):
    """Storages without content, as large as the id says."""
    if len(identity) < 5 or type(identity[4]) is not int or not isinstance(identity[1], Inert):
        raise PickleError("an id that a reader of files would refuse")
    if identity[1].name.rpartition(".")[2] not in DTYPES:
        raise PickleError("a storage that a reader of files would refuse")
    dtype = DTYPES[identity[1].name.rpartition(".")[2]]
    return FakeStorage(b"", identity[4] * WIDTH.get(dtype, 1)), dtype


def read(data: bytes, find_storage=no_storage):
    return unpickle(data, find_storage).value


def read_torch(content, protocol=2):
    """The content of a zip file from torch.save, with its storages."""
    buffer = io.BytesIO()
    torch.save(content, buffer, pickle_protocol=protocol)
    archive = zipfile.ZipFile(buffer)
    root = archive.namelist()[0].partition("/")[0]

    def find_storage(identity):
        dtype = DTYPES[identity[1].name.rpartition(".")[2]]
        return FakeStorage(archive.read(f"{root}/data/{identity[2]}")), dtype

    return read(archive.read(f"{root}/data.pkl"), find_storage)


def assert_same(ours, theirs) -> None:
    """Our result equals that of Python's pickle: the same types, and bitwise equal numbers."""
    if isinstance(theirs, dict):
        assert type(ours) is Pairs
        assert len(ours) == len(theirs)
        for (key, value), (their_key, their_value) in zip(
            ours.items(), theirs.items(), strict=True
        ):
            assert_same(key, their_key)
            assert_same(value, their_value)
    elif isinstance(theirs, list | tuple):
        assert type(ours) is (list if isinstance(theirs, list) else tuple)
        assert len(ours) == len(theirs)
        for value, their_value in zip(ours, theirs, strict=True):
            assert_same(value, their_value)
    elif isinstance(theirs, bytearray):
        assert ours == bytes(theirs)
    else:
        assert type(ours) is type(theirs)
        assert repr(ours) == repr(theirs)  # tells -0.0 from 0.0, and equates NaN
