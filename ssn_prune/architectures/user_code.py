"""What the user's own code offers as ``package.module:name``: a network, or a loader of images.

The module may lie in the current folder (:mod:`ssn_prune.architectures.current_folder`). It should
be a library, but may be a script that starts training, parses arguments, asks a question or ends
the program. An error then says so, and whatever else the module raises becomes a typed error.
"""

from __future__ import annotations

import contextlib
import difflib
import importlib
import io
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ssn_prune.architectures.current_folder import current_folder_importable, is_owned
from ssn_prune.errors import ArchitectureError, ArgumentError, DataError, first_line
from ssn_prune.text import listed
from ssn_prune.thread_streams import thread_stream

_SHOWN = 8


@dataclass(frozen=True)
class Sought:
    """What is looked for in the user's code.

    Attributes:
        noun: What it is called, such as ``"factory"``.
        argument: The argument that names it, as hints begin with it: "`arch=".
        error: The error to raise if it cannot be imported.
        offered: Whether a value in a module may be what is meant.
    """

    noun: str
    argument: str
    error: type[ArchitectureError | DataError]
    offered: Callable[[Any], bool]


def imported(name: str, module_name: str, attribute: str, sought: Sought) -> Any:
    """Import an attribute of a module.

    Args:
        name: What the user wrote.
        module_name: The part before the colon.
        attribute: The part after it.
        sought: What it should be.

    Raises:
        ArchitectureError: A factory of a network cannot be imported.
        DataError: A loader cannot be imported.
        ArgumentError: The module ends the program, or reads from the terminal, when imported.
    """
    with current_folder_importable(), stays_running(module_name, "is imported"):
        try:
            module = importlib.import_module(module_name)
        # The module is the user's code and may raise anything, such as this if it calls input().
        except EOFError as error:
            raise _no_library(f"{module_name} asks for input when it is imported", error) from error
        except Exception as error:
            raise sought.error(
                f"cannot import the {sought.noun} {name!r}",
                expected=f"package.module:{sought.noun}, importable from here",
                found=f"{type(error).__name__}: {error}",
                hint="install the package, run from its folder, or set PYTHONPATH"
                if isinstance(error, ModuleNotFoundError)
                else f"fix {module_name!r}: `import {module_name}` raises this by itself too",
            ) from error
        value = getattr(module, attribute, None)
    if value is None:
        offered = [key for key, entry in vars(module).items() if sought.offered(entry)]
        near = difflib.get_close_matches(attribute, offered, n=3, cutoff=0.5)
        raise sought.error(
            f"cannot import the {sought.noun} {name!r}",
            expected=f"a class or function of {module_name}: {names_of(offered)}",
            found=f"nothing called {attribute!r} there",
            hint=_shadowed(module_name) or one_of(module_name, near or offered, sought),
        )
    return value


def names_of(offered: list[str]) -> str:
    """The first names, for a message."""
    return listed(offered, _SHOWN) or "none that could be found"


def one_of(module: str, names: list[str], sought: Sought) -> str:
    """The hint to pass one of a module's names."""
    shown = [f"{sought.argument}'{module}:{name}'`" for name in names[:3] or ["NAME"]]
    return f"pass {' or '.join(shown)}"


def _shadowed(module: str) -> str | None:
    """What to do if a file in the current folder has the name of another module."""
    top = module.partition(".")[0]
    if is_owned(top) and (Path(f"{top}.py").is_file() or Path(top, "__init__.py").is_file()):
        return f"rename {top} in the current folder: another module already has this name"
    return None


def _no_library(problem: str, error: BaseException) -> ArgumentError:
    return ArgumentError(
        problem,
        expected="a module that only defines classes and functions",
        found=f"{type(error).__name__}: {first_line(error)}",
        hint="move the class or function to a module of its own, or put everything else that the "
        "module does under if __name__ == '__main__'",
    )


@contextlib.contextmanager
def stays_running(name: str, doing: str) -> Iterator[None]:
    """Turn an attempt to end the program into an error; standard input is empty meanwhile.

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
