"""The execution providers of ONNX Runtime: the device that it runs a file on."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import onnxruntime

from ssn_prune.errors import ArgumentError
from ssn_prune.text import shown

CPU = "CPUExecutionProvider"
_SUFFIX = "ExecutionProvider"
# Options of providers that by default compute float32 with reduced precision.
_FLOAT32: Mapping[str, Mapping[str, str]] = {"CUDAExecutionProvider": {"use_tf32": "0"}}


def provider_named(name: str) -> str:
    """Resolve the name of an installed provider to ONNX Runtime's own.

    Args:
        name: ONNX Runtime's name, such as ``CUDAExecutionProvider``, or its first part, in upper or
            lower case: ``cuda``.

    Raises:
        ArgumentError: The provider is not installed or does not exist.
    """
    wanted = name.lower().removesuffix(_SUFFIX.lower())
    for provider in onnxruntime.get_available_providers():
        if provider.removesuffix(_SUFFIX).lower() == wanted:
            return str(provider)
    raise _not_there(f"ONNX Runtime has no execution provider {shown(name)}", f"`provider={name}`")


def provider_with_options(provider: str, *, float32: bool) -> str | tuple[str, dict[str, str]]:
    """A provider in the form that a session takes.

    Args:
        provider: ONNX Runtime's name.
        float32: Compute in full float32 where the device would by default use less precision.
    """
    options = _FLOAT32.get(provider) if float32 else None
    return provider if options is None else (provider, dict(options))


def require_provider(session: Any, name: str, provider: str) -> None:
    """Refuse a session on another provider: ONNX Runtime falls back to the CPU if a device fails.

    Args:
        session: The session.
        name: Name of its file, for errors.
        provider: The provider that was asked for.

    Raises:
        ArgumentError: The session does not run on it.
    """
    first = session.get_providers()[0]
    if first != provider:
        raise _not_there(f"ONNX Runtime does not run {name} on {provider}", str(first))


def _not_there(problem: str, found: str) -> ArgumentError:
    names = [name.removesuffix(_SUFFIX).lower() for name in onnxruntime.get_available_providers()]
    return ArgumentError(
        problem,
        expected="a provider that is installed and whose device works: " + " or ".join(names),
        found=found,
        hint="pass `provider='cpu'`; or install the ONNX Runtime of that device, such as "
        "onnxruntime-gpu for cuda, and its driver",
    )
