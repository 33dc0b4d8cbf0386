"""Parts of keys that wrappers of submodules add: ``encoder._orig_mod.conv.weight``."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TypeVar

T = TypeVar("T")
COMPILED = "_orig_mod"
_WRAPPERS = (COMPILED, "module", "_fsdp_wrapped_module", "_checkpoint_wrapped_module")


def without_wrappers(
    tensors: Mapping[str, T], expected: Mapping[str, object] | None
) -> dict[str, T]:
    """Remove what ``torch.compile`` and wrappers put into the middle of keys.

    Args:
        tensors: Weights by key.
        expected: Keys of the network, if known: a part is removed if that makes a key one of these.
            Otherwise only ``_orig_mod`` is removed, since no network calls a part of its own so.

    Returns:
        The same tensors, in the same order. If two keys would become the same, all are kept.
    """
    renamed: dict[str, T] = {}
    for key, value in tensors.items():
        new = _renamed(key, expected)
        if new in renamed or (new != key and new in tensors):
            return dict(tensors)
        renamed[new] = value
    return renamed


def _renamed(key: str, expected: Mapping[str, object] | None) -> str:
    if expected is not None and key in expected:
        return key
    parts = key.split(".")
    if expected is None:
        return ".".join(part for part in parts if part != COMPILED)
    bare = ".".join(part for part in parts if part not in _WRAPPERS)
    if bare in expected:
        return bare
    for wrapper in _WRAPPERS:
        bare = ".".join(part for part in parts if part != wrapper)
        if bare in expected:
            return bare
    return key
