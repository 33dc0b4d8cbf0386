"""``package.module:factory``: networks that the user's own code builds."""

from __future__ import annotations

import ast
import contextlib
import functools
import importlib.util
import inspect
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import torch
from torch import nn

from ssn_prune.architectures.current_folder import current_folder_importable
from ssn_prune.architectures.user_code import Sought, imported, names_of, one_of, stays_running
from ssn_prune.errors import ArchitectureError


def factory_builder(name: str, module_name: str, attribute: str) -> Callable[..., nn.Module]:
    """Import a factory.

    Args:
        name: What the user wrote.
        module_name: The part before the colon.
        attribute: The part after it.

    Returns:
        A function that builds a network with the factory.

    Raises:
        ArchitectureError: The factory cannot be imported.
        ArgumentError: Its module ends the program, or reads from the terminal, when imported.
    """
    factory = imported(name, module_name, attribute, _FACTORY)

    def build(**arguments: Any) -> nn.Module:
        with (
            current_folder_importable(),
            _constructible_without_cuda(),
            stays_running(name, "builds the network"),
        ):
            network = factory(**arguments)
        if not isinstance(network, nn.Module):
            raise ArchitectureError(
                f"{name} did not build a network",
                expected="a torch.nn.Module",
                found=type(network).__name__,
                hint="name a class or function that returns the network",
            )
        return network

    # Only the link to the factory is set, so that inspect shows its signature.
    return functools.update_wrapper(build, factory, assigned=(), updated=())


def module_without_factory(name: str) -> ArchitectureError | None:
    """The error for a module, or a Python file, that is given where a factory is needed.

    Nothing is imported but the parent packages of a module.

    Args:
        name: As the user wrote it, with or without a colon.

    Returns:
        The error, which says what to write instead; None if there is no such module or file.
    """
    if path := re.fullmatch(r"(.*\.py)(?::(\w*))?", name):
        file = Path(path[1])
        where = "" if file.resolve().parent == Path.cwd() else f", with PYTHONPATH={file.parent}"
        wanted = [path[2]] if path[2] else _defined_in(file)
        return ArchitectureError(
            f"{name!r} names a file, not a module",
            expected="package.module:factory",
            found="a path" if file.is_file() else f"a path, and no file {file}",
            hint=one_of(file.stem, wanted, _FACTORY) + where,
        )
    if not name or not all(part.isidentifier() for part in name.split(".")):
        return None
    with current_folder_importable(), stays_running(name, "is looked for"):
        try:
            found = importlib.util.find_spec(name)
        # Its parent packages are the user's code and may raise anything.
        except Exception:  # noqa: BLE001
            return None
    if found is None or found.origin is None or not found.origin.endswith(".py"):
        return None
    offered = _defined_in(Path(found.origin))
    return ArchitectureError(
        f"{name!r} is a module, not a network",
        expected=f"package.module:factory, with a class or function of it: {names_of(offered)}",
        found="no colon",
        hint=one_of(name, offered, _FACTORY),
    )


def _defined_in(path: Path) -> list[str]:
    """Public classes and functions that a file defines, classes first; the file is not run."""
    try:
        body = ast.parse(path.read_bytes()).body
    except (OSError, SyntaxError, ValueError):
        return []
    classes = [node.name for node in body if isinstance(node, ast.ClassDef)]
    functions = [node.name for node in body if isinstance(node, ast.FunctionDef)]
    return [name for name in (*classes, *functions) if not name.startswith("_")]


def _offered(value: Any) -> bool:
    """Whether something may be meant as a factory."""
    if isinstance(value, type):
        return issubclass(value, nn.Module)
    return inspect.isfunction(value)


_FACTORY = Sought("factory", "`arch=", ArchitectureError, _offered)


@contextlib.contextmanager
def _constructible_without_cuda() -> Iterator[None]:
    """Let constructors that call ``torch.cuda.FloatTensor`` and the like build on the CPU.

    Older versions of the reference layers call them; the stored values are loaded later anyway.
    """
    if torch.cuda.is_available():
        yield
        return
    names = [f"{kind}Tensor" for kind in ("Float", "Double", "Half", "Long", "Int", "Byte")]
    originals = {name: getattr(torch.cuda, name) for name in names}
    try:
        for name in names:
            setattr(torch.cuda, name, getattr(torch, name))
        yield
    finally:
        for name, original in originals.items():
            setattr(torch.cuda, name, original)
