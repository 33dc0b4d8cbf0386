"""Stand-ins for metadata that a safe unpickler refuses; they keep nothing and execute nothing.

Training scripts put their options, paths and scores beside the weights. The list of what is
tolerated is closed; everything else is refused by name.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any


class InertValue:
    """Takes any construction and any state, and ignores both."""

    def __new__(cls, *_args: Any, **_kwargs: Any) -> InertValue:  # not subclassed
        """Accept and drop whatever the pickle passes."""
        return super().__new__(cls)

    def __init__(self, *_args: Any, **_kwargs: Any) -> None:
        pass

    def __setstate__(self, _state: Any) -> None:
        pass

    def __repr__(self) -> str:
        return "<metadata left unread>"


def _plain_dict(*_args: Any) -> dict[Any, Any]:
    return {}


def _plain_list(*_args: Any) -> list[Any]:
    return []


_INERT_NAMES = (
    "argparse.Namespace",
    "types.SimpleNamespace",
    "numpy.core.multiarray.scalar",
    "numpy._core.multiarray.scalar",
    "numpy.core.multiarray._reconstruct",
    "numpy._core.multiarray._reconstruct",
    "numpy.ndarray",
    "numpy.dtype",
    "pathlib.Path",
    "pathlib.PosixPath",
    "pathlib.WindowsPath",
    "pathlib.PurePosixPath",
    "pathlib.PureWindowsPath",
    "pathlib._local.PosixPath",
    "pathlib._local.WindowsPath",
    "datetime.datetime",
    "datetime.date",
    "datetime.time",
    "datetime.timedelta",
    "datetime.timezone",
    "builtins.frozenset",
    # factories of a defaultdict: named, never called
    "builtins.list",
    "builtins.dict",
    "builtins.int",
    "builtins.float",
    "builtins.str",
)


def inert_globals() -> list[Callable[..., Any] | tuple[Callable[..., Any], str]]:
    """Stand-ins by dotted name, in the form that ``torch.serialization.safe_globals`` takes."""
    return [
        (_plain_dict, "collections.defaultdict"),
        (_plain_list, "collections.deque"),
        *((InertValue, name) for name in _INERT_NAMES),
    ]
