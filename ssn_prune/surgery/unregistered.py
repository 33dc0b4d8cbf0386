"""Modules that a network's code reaches otherwise than by their registered names.

A Python list of layers, a closure, a bound method or a global variable holds a module itself, not
its name. Where such a module is replaced, the code goes on calling the old one, and nothing fails.
"""

from __future__ import annotations

import functools
from collections import deque
from collections.abc import Collection, Iterator
from types import FunctionType, MethodType, ModuleType
from typing import Any

from torch import Tensor, nn

_REGISTERED = ("_modules", "_parameters", "_buffers")
_VISITS = 20_000
"""Largest number of objects with parts that are visited; what is beyond is not searched."""


def unregistered_references(model: nn.Module, wanted: Collection[nn.Module]) -> dict[int, str]:
    """Find modules that a network holds without registering them.

    Args:
        model: The network; nothing in it is called or changed.
        wanted: The modules to look for.

    Returns:
        Where each module was found, such as ``"blocks.0.norms[1]"``, by its ``id``.
    """
    targets = {id(module) for module in wanted}
    found: dict[int, str] = {}
    for place, value in held_objects(model):
        if id(value) in targets:
            found.setdefault(id(value), place)
    return found


def held_objects(model: nn.Module) -> Iterator[tuple[str, Any]]:
    """What a network holds besides its registered parts, with the place of each object.

    Args:
        model: The network; nothing in it is called or changed.
    """
    registered = {id(module) for module in model.modules()}
    pending: deque[tuple[str, Any]] = deque()
    for path, module in model.named_modules():
        pending += _held(f"{path}." if path else "", module)
    seen: set[int] = set()
    while pending and len(seen) < _VISITS:
        place, value = pending.popleft()
        yield place, value
        if id(value) in seen or id(value) in registered:
            continue
        parts = list(_parts(place, value))
        if parts:
            seen.add(id(value))
            pending += parts


def _held(prefix: str, module: nn.Module) -> Iterator[tuple[str, Any]]:
    """What a module holds besides its registered parts, and its methods."""
    for name, value in vars(module).items():
        if name not in _REGISTERED:
            yield prefix + name, value
    for kind in type(module).__mro__:
        if kind is nn.Module:
            break
        for name, value in vars(kind).items():
            yield prefix + name, value


def _parts(place: str, value: Any) -> Iterator[tuple[str, Any]]:
    """The objects that one of a known kind refers to."""
    if isinstance(value, dict):
        yield from ((f"{place}[{key!r}]", item) for key, item in value.items())
    elif isinstance(value, list | tuple | set | frozenset | deque):
        yield from ((f"{place}[{index}]", item) for index, item in enumerate(value))
    elif isinstance(value, nn.Module):
        yield from ((f"{place}.{name}", child) for name, child in value._modules.items())
        yield from _held(f"{place}.", value)
    elif isinstance(value, MethodType):
        yield f"{place}.__self__", value.__self__
        yield place, value.__func__
    elif isinstance(value, functools.partial):
        yield from ((place, part) for part in (value.func, *value.args, *value.keywords.values()))
    elif isinstance(value, FunctionType):
        yield from _closure(place, value)
        yield from _globals(place, value)
    elif hasattr(value, "__dict__") and not isinstance(value, type | ModuleType | Tensor):
        yield from ((f"{place}.{name}", item) for name, item in vars(value).items())


def _closure(place: str, function: FunctionType) -> Iterator[tuple[str, Any]]:
    names = function.__code__.co_freevars
    for name, cell in zip(names, function.__closure__ or (), strict=False):
        try:
            yield f"{name}, a variable of {place}", cell.cell_contents
        except ValueError:  # the variable is not set yet
            continue
    for value in (*(function.__defaults__ or ()), *(function.__kwdefaults__ or {}).values()):
        yield f"a default of {place}", value


def _globals(place: str, function: FunctionType) -> Iterator[tuple[str, Any]]:
    """Modules, and containers that may hold some, among the global variables of a function."""
    for name in function.__code__.co_names:
        value = function.__globals__.get(name)
        if isinstance(value, nn.Module | dict | list | tuple):
            yield f"the global variable {name} in {place}", value
