"""Reads pickles without executing them: an interpreter of our own, over plain values."""

from ssn_prune.checkpoint.unpickling.errors import (
    NestedFileError,
    PickleError,
    TooLargeError,
    TruncatedError,
    UnsafeGlobalError,
    WholeModuleError,
)
from ssn_prune.checkpoint.unpickling.interpreter import Unpickled, unpickle
from ssn_prune.checkpoint.unpickling.machine import FindStorage
from ssn_prune.checkpoint.unpickling.values import (
    Inert,
    Name,
    NumpyArray,
    Pairs,
    StorageReference,
)
from ssn_prune.checkpoint.unpickling.walk import walk

__all__ = [
    "FindStorage",
    "Inert",
    "Name",
    "NestedFileError",
    "NumpyArray",
    "Pairs",
    "PickleError",
    "StorageReference",
    "TooLargeError",
    "TruncatedError",
    "Unpickled",
    "UnsafeGlobalError",
    "WholeModuleError",
    "unpickle",
    "walk",
]
