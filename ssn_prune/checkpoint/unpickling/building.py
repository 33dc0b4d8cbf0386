"""What calling, creating or completing an object yields, by its name; nothing is executed."""

from __future__ import annotations

from sys import getsizeof

from ssn_prune.checkpoint.stored import StoredTensor, UnsupportedTensor
from ssn_prune.checkpoint.unpickling.errors import (
    PickleError,
    TooLargeError,
    UnsafeGlobalError,
    WholeModuleError,
)
from ssn_prune.checkpoint.unpickling.machine import MEMO_COST, SLOT_COST, Machine
from ssn_prune.checkpoint.unpickling.names import (
    canonical,
    is_inert,
    is_loss,
    is_module,
    is_of_library,
    is_tensor_class,
    may_be_enum_member,
    may_be_named,
)
from ssn_prune.checkpoint.unpickling.numpy_values import NUMPY, complete_array, complete_dtype
from ssn_prune.checkpoint.unpickling.python_values import PYTHON, Builder
from ssn_prune.checkpoint.unpickling.torch_values import TENSORS, TORCH
from ssn_prune.checkpoint.unpickling.values import (
    Inert,
    Instance,
    Name,
    NumpyArray,
    NumpyType,
    Pairs,
)

_BUILDERS: dict[str, Builder] = {**PYTHON, **NUMPY, **TORCH}
_FROM_TYPE = ("torch._tensor._rebuild_from_type", "torch._tensor._rebuild_from_type_v2")
_RECONSTRUCTOR = "copyreg._reconstructor"
_NEW = ("copyreg.__newobj__", "copyreg.__newobj_ex__")
_GETATTR = "builtins.getattr"
_OR = ("_operator.or_", "operator.or_")
_CREATORS = frozenset((*_FROM_TYPE, _RECONSTRUCTOR, *_NEW))
_LONGEST_NAME = 1000  # characters
_TENSOR_COST = 400
_SMALL_COST = 64
_SCAN_COST = 4  # a key that is compared
_SEARCH_COST = 128  # a name that is compared with the lists


def name(machine: Machine, module: object, member: object) -> Name:
    """A name that the file asks for; its use must show that an unknown one is harmless."""
    if not isinstance(module, str) or not isinstance(member, str):
        raise PickleError("a name that is no text")
    if len(module) + len(member) > _LONGEST_NAME:
        raise TooLargeError(f"a name of {len(module) + len(member)} characters")
    full = f"{module}.{member}"
    machine.charge(getsizeof(full))
    known = canonical(full)
    if known in _BUILDERS or known in _CREATORS or is_inert(known) or may_be_named(known):
        return Name(known)
    machine.charge(MEMO_COST)
    machine.unknown[full] = None
    return Name(full)


def call(machine: Machine, function: object, arguments: object) -> object:
    """What a function or class returns for these arguments."""
    if not isinstance(function, Name) or not isinstance(arguments, tuple):
        raise PickleError("a call of something that has no name, or without arguments")
    machine.charge(SLOT_COST * len(arguments))
    builder = _BUILDERS.get(function.name)
    if builder is not None:
        value = builder(arguments)
    elif function.name in _FROM_TYPE:
        value = _subclassed(arguments)
    elif function.name == _RECONSTRUCTOR and arguments:
        value = create(machine, arguments[0], ())
    elif function.name in _NEW and arguments:
        value = create(machine, arguments[0], arguments[1:])
    else:
        machine.charge(_SEARCH_COST)
        value = _object(machine, function, arguments)
    machine.charge(_cost(value))
    return value


def create(machine: Machine, cls: object, arguments: object) -> object:
    """A new object of a class; for an unknown class, its state will show what it is."""
    if not isinstance(cls, Name) or not isinstance(arguments, tuple):
        raise PickleError("a new object of something that is no class, or without arguments")
    builder = _BUILDERS.get(cls.name)
    if builder is None:
        return _known_object(machine, cls) or Instance(cls.name)
    value = builder(arguments)
    machine.charge(_cost(value))
    return value


def complete(machine: Machine, target: object, state: object) -> None:
    """Give an object the state that the pickle holds for it."""
    if isinstance(target, NumpyType):
        complete_dtype(target, state)
    elif isinstance(target, NumpyArray):
        complete_array(target, state)
        if isinstance(state, tuple) and isinstance(state[-1], str):
            machine.charge(getsizeof(state[-1]))  # its bytes were encoded from the text
    elif isinstance(target, Inert) and not isinstance(target, Name):
        if isinstance(state, Pairs):
            machine.charge(_SCAN_COST * len(state))
            if not is_loss(target.name) and state.get("_parameters") is not None:
                raise WholeModuleError(_outermost(machine) or target.name)
        if isinstance(target, Instance):
            raise UnsafeGlobalError(target.name)
    elif not isinstance(target, Pairs):  # of an OrderedDict: its attributes, such as _metadata
        raise PickleError("a state for something that takes none")


def require_explained(machine: Machine) -> None:
    """Refuse a file that asked for an unknown name whose use did not prove harmless."""
    for unknown in machine.unknown:
        raise UnsafeGlobalError(unknown)


def unsafe_name(machine: Machine) -> str | None:
    """The first unknown name that belongs to a library, and so is not a user's enumeration."""
    return next((name for name in machine.unknown if is_of_library(name)), None)


def _known_object(machine: Machine, cls: Name) -> object:
    if is_inert(cls.name):
        return Inert(cls.name)
    if is_module(cls.name):
        raise WholeModuleError(_outermost(machine) or cls.name)
    if is_tensor_class(cls.name):
        return UnsupportedTensor(f"a {cls.name} as PyTorch wrote it before version 0.2")
    if may_be_named(cls.name):
        raise PickleError(f"a call of {cls.name}, which cannot be called")
    return None


def _object(machine: Machine, cls: Name, arguments: tuple[object, ...]) -> object:
    """What calling a class returns, if it is metadata, a module, or a user's enumeration."""
    if canonical(cls.name) == _GETATTR:
        return _member(machine, cls, arguments)
    if cls.name in _OR:
        return _flags(machine, cls, arguments)
    return _known_object(machine, cls) or _enum_member(machine, cls, arguments)


def _enum_member(machine: Machine, cls: Name, arguments: tuple[object, ...]) -> Inert:
    if not may_be_enum_member(cls.name, arguments):
        raise UnsafeGlobalError(cls.name)
    machine.unknown.pop(cls.name, None)
    return Inert(cls.name)


def _member(machine: Machine, getattr_: Name, arguments: tuple[object, ...]) -> Inert:
    """A member of a class by its name: of ``ZoneInfo``, or as Python 3.11.2 wrote an ``Enum``."""
    match arguments:
        case (Name() as cls, str() as text) if may_be_enum_member(cls.name, (text,)):
            value = _enum_member(machine, cls, (text,))
        case (Name() as cls, "_unpickle") if is_inert(f"{cls.name}._unpickle"):
            value = name(machine, cls.name, "_unpickle")
        case (Name() as cls, str() as text) if is_inert(cls.name) and text.isidentifier():
            value = Inert(cls.name)
        case _:
            raise UnsafeGlobalError(getattr_.name)
    machine.unknown.pop(getattr_.name, None)
    return value


def _flags(machine: Machine, or_: Name, arguments: tuple[object, ...]) -> Inert:
    """Members of a ``Flag`` together, as Python 3.11.2 wrote them: one member or the other."""
    match arguments:
        case (Inert() as one, Inert() | int() as other) if type(one) is Inert:
            same = isinstance(other, int) or (type(other) is Inert and other.name == one.name)
            if same:
                machine.unknown.pop(or_.name, None)
                return Inert(one.name)
    raise UnsafeGlobalError(or_.name)


def _subclassed(arguments: tuple[object, ...]) -> object:
    """``_rebuild_from_type``: a function, the class, the function's arguments, attributes."""
    match arguments:
        case (Name() as function, Name(), tuple() as inner, *_) if function.name in TENSORS:
            return TENSORS[function.name](inner)
    raise PickleError("a tensor of a subclass without the way to rebuild it")


def _outermost(machine: Machine) -> str | None:
    """The class of the object that everything now being read is part of."""
    for level in (*machine.below, machine.stack):
        for value in level:
            if isinstance(value, Instance):
                return value.name
    return None


def _cost(value: object) -> int:
    if isinstance(value, str | bytes):
        return getsizeof(value)
    if isinstance(value, StoredTensor):
        return _TENSOR_COST + 2 * SLOT_COST * value.dim()
    if isinstance(value, UnsupportedTensor):
        return _SMALL_COST + getsizeof(value.kind)
    if isinstance(value, list | tuple):
        return _SMALL_COST + SLOT_COST * len(value)
    if isinstance(value, Pairs):
        return 2 * (_SMALL_COST + SLOT_COST * len(value))
    return _SMALL_COST
