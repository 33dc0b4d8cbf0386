"""``package.module:factory``: networks that the user's own code builds.

The module may lie in the current folder (:mod:`ssn_prune.architectures.current_folder`). It is
meant for a library, and may be a script that starts to train, parses its arguments, asks a question
or ends the program: that is said, and whatever it raises becomes a typed error.
"""

from __future__ import annotations

import ast
import contextlib
import difflib
import functools
import importlib
import importlib.util
import inspect
import io
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import torch
from torch import nn

from ssn_prune.architectures.current_folder import current_folder_importable, is_owned
from ssn_prune.errors import ArchitectureError, ArgumentError, first_line
from ssn_prune.text import listed
from ssn_prune.thread_streams import thread_stream

_SHOWN = 8


def factory_builder(name: str, module_name: str, attribute: str) -> Callable[..., nn.Module]:
    """Import a factory.

    Args:
        name: What the user wrote.
        module_name: The part before the colon.
        attribute: The part behind it.

    Returns:
        A function that builds a network with it.

    Raises:
        ArchitectureError: It cannot be imported.
        ArgumentError: Its module ends the program, or reads from the terminal, when imported.
    """
    with current_folder_importable(), _stays_running(module_name, "is imported"):
        try:
            module = importlib.import_module(module_name)
        # The module is the user's code and may raise anything; input() finds nothing to read.
        except EOFError as error:
            raise _no_library(f"{module_name} asks for input when it is imported", error) from error
        except Exception as error:
            raise ArchitectureError(
                f"cannot import the factory {name!r}",
                expected="package.module:factory, importable from here",
                found=f"{type(error).__name__}: {error}",
                hint="install the package, run from its folder, or set PYTHONPATH"
                if isinstance(error, ModuleNotFoundError)
                else f"mend {module_name!r}: `import {module_name}` raises this by itself, too",
            ) from error
        factory = getattr(module, attribute, None)
    if factory is None:
        offered = [key for key, value in vars(module).items() if _offered(value)]
        near = difflib.get_close_matches(attribute, offered, n=3, cutoff=0.5)
        raise ArchitectureError(
            f"cannot import the factory {name!r}",
            expected=f"a class or function of {module_name}: {_listed(offered)}",
            found=f"nothing called {attribute!r} there",
            hint=_shadowed(module_name) or _one_of(module_name, near or offered),
        )

    def build(**arguments: Any) -> nn.Module:
        with (
            current_folder_importable(),
            _constructible_without_cuda(),
            _stays_running(name, "builds the network"),
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

    # Only the link to the factory, whose signature inspect then shows.
    return functools.update_wrapper(build, factory, assigned=(), updated=())


def module_without_factory(name: str) -> ArchitectureError | None:
    """The error for a module, or a file of Python code, that is named alone.

    Nothing is imported but the packages around a module.

    Args:
        name: As the user wrote it, with or without a colon.

    Returns:
        What to write instead; None if there is no such module or file.
    """
    if path := re.fullmatch(r"(.*\.py)(?::(\w*))?", name):
        file = Path(path[1])
        where = "" if file.resolve().parent == Path.cwd() else f", with PYTHONPATH={file.parent}"
        wanted = [path[2]] if path[2] else _defined_in(file)
        return ArchitectureError(
            f"{name!r} names a file, not a module",
            expected="package.module:factory",
            found="a path" if file.is_file() else f"a path, and no file {file}",
            hint=_one_of(file.stem, wanted) + where,
        )
    if not name or not all(part.isidentifier() for part in name.split(".")):
        return None
    with current_folder_importable(), _stays_running(name, "is looked for"):
        try:
            found = importlib.util.find_spec(name)
        # The packages around it are the user's code and may raise anything.
        except Exception:  # noqa: BLE001
            return None
    if found is None or found.origin is None or not found.origin.endswith(".py"):
        return None
    offered = _defined_in(Path(found.origin))
    return ArchitectureError(
        f"{name!r} is a module, not a network",
        expected=f"package.module:factory, with a class or function of it: {_listed(offered)}",
        found="no colon",
        hint=_one_of(name, offered),
    )


def _defined_in(path: Path) -> list[str]:
    """Public classes and functions of a file, which is not run; classes first."""
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


def _listed(names: list[str]) -> str:
    return listed(names, _SHOWN) or "none that could be found"


def _one_of(module: str, names: list[str]) -> str:
    shown = [f"`arch='{module}:{name}'`" for name in names[:3]]
    return f"pass {' or '.join(shown)}" if shown else f"pass `arch='{module}:NAME'`"


def _shadowed(module: str) -> str | None:
    """What to do if a file of the current folder has the name of another module."""
    top = module.partition(".")[0]
    if is_owned(top) and (Path(f"{top}.py").is_file() or Path(top, "__init__.py").is_file()):
        return f"rename what is called {top} in the current folder: the name is taken"
    return None


def _no_library(problem: str, error: BaseException) -> ArgumentError:
    return ArgumentError(
        problem,
        expected="a module that only defines classes and functions",
        found=f"{type(error).__name__}: {first_line(error)}",
        hint="move the network to a module of its own, or put what the module does besides under "
        "if __name__ == '__main__'",
    )


@contextlib.contextmanager
def _stays_running(name: str, doing: str) -> Iterator[None]:
    """Turn the end of the program into an error, and give nothing to read on standard input.

    Raises:
        ArgumentError: The code inside raises SystemExit or another exception that ends programs.
    """
    try:
        with thread_stream("stdin", io.StringIO()):
            yield
    except (Exception, KeyboardInterrupt):
        raise
    except BaseException as error:
        raise _no_library(f"{name} ends the program when it {doing}", error) from error


@contextlib.contextmanager
def _constructible_without_cuda() -> Iterator[None]:
    """Let constructors that call ``torch.cuda.FloatTensor`` and the like build on the CPU.

    Older versions of the reference layers do so; the stored values are loaded afterwards anyway.
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
