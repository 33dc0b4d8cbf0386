"""Objects of Python's own classes, built from the arguments in their pickles."""

from __future__ import annotations

from collections.abc import Callable

from ssn_prune.checkpoint.unpickling.errors import NestedFileError, PickleError
from ssn_prune.checkpoint.unpickling.values import Pairs

Builder = Callable[[tuple[object, ...]], object]


def mapping(arguments: tuple[object, ...]) -> Pairs:
    """``dict``, ``OrderedDict`` or ``Counter``: empty, a copy of a mapping, or from pairs."""
    if not arguments:
        return Pairs()
    (source,) = one(arguments)
    if isinstance(source, Pairs):
        return Pairs(source.keys, source.values)
    if not isinstance(source, list | tuple):
        raise PickleError("a mapping is made of something else than pairs")
    pairs = Pairs()
    for pair in source:
        if not isinstance(pair, list | tuple) or len(pair) != 2:
            raise PickleError("a mapping is made of something else than pairs")
        pairs.keys.append(pair[0])
        pairs.values.append(pair[1])
    return pairs


def default_mapping(arguments: tuple[object, ...]) -> Pairs:
    """``defaultdict``: a factory, which is never called, and perhaps a mapping."""
    return mapping(arguments[1:])


def sequence(arguments: tuple[object, ...]) -> list[object]:
    """``list``, or ``deque`` with its maximum length."""
    if not arguments:
        return []
    if not isinstance(arguments[0], list | tuple) or len(arguments) > 2:
        raise PickleError("a list is made of something else than items")
    return list(arguments[0])


def byte_string(arguments: tuple[object, ...]) -> bytes:
    """``bytes``, ``bytearray``, and ``_codecs.encode``, by which older protocols store them."""
    match arguments:
        case ():
            return b""
        case (bytes() as data,):
            return data
        case (str() as text, "latin1" | "latin-1" | "iso-8859-1"):
            try:
                return text.encode("latin-1")
            except UnicodeEncodeError:
                raise PickleError("bytes are made of characters above 255") from None
    raise PickleError("bytes are made of something else than bytes or text")


def complex_number(arguments: tuple[object, ...]) -> complex:
    """``complex``: real and imaginary part."""
    match arguments:
        case (int() | float() as real, int() | float() as imaginary):
            try:
                return complex(real, imaginary)
            except OverflowError:
                raise PickleError("a complex number with a part that no float can hold") from None
    raise PickleError("a complex number is made of something else than two numbers")


def nested_file(_: tuple[object, ...]) -> object:
    """``torch.storage._load_from_bytes``: a file within the pickle."""
    raise NestedFileError()


def one(arguments: tuple[object, ...]) -> tuple[object]:
    """The arguments, if there is exactly one."""
    if len(arguments) != 1:
        raise PickleError(f"{len(arguments)} arguments instead of one")
    return arguments


PYTHON: dict[str, Builder] = {
    "builtins.dict": mapping,
    "collections.OrderedDict": mapping,
    "collections.Counter": mapping,
    "collections.defaultdict": default_mapping,
    "builtins.list": sequence,
    "collections.deque": sequence,
    "builtins.bytes": byte_string,
    "builtins.bytearray": byte_string,
    "_codecs.encode": byte_string,
    "builtins.complex": complex_number,
    "torch.storage._load_from_bytes": nested_file,
}
