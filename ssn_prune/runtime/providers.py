"""The execution providers of ONNX Runtime: the device that it runs a file on."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import onnxruntime

from ssn_prune.errors import ArgumentError
from ssn_prune.text import shown

CPU = "CPUExecutionProvider"
_SUFFIX = "ExecutionProvider"
# Where left to itself a provider computes float32 with fewer digits.
_FLOAT32: Mapping[str, Mapping[str, str]] = {"CUDAExecutionProvider": {"use_tf32": "0"}}


def provider_named(name: str) -> str:
    """ONNX Runtime's name of a provider that is installed.

    Args:
        name: That name, such as ``CUDAExecutionProvider``, or what precedes its suffix, in any
            case: ``cuda``.

    Raises:
        ArgumentError: It is not installed, or there is none of that name.
    """
    wanted = name.lower().removesuffix(_SUFFIX.lower())
    for provider in onnxruntime.get_available_providers():
        if provider.removesuffix(_SUFFIX).lower() == wanted:
            return str(provider)
    raise _not_there(f"ONNX Runtime has no execution provider {shown(name)}", f"`provider={name}`")


def provider_with_options(provider: str, *, float32: bool) -> str | tuple[str, dict[str, str]]:
    """A provider as a session takes it.

    Args:
        provider: ONNX Runtime's name.
        float32: Compute in float32 where the device would choose less for its speed.
    """
    options = _FLOAT32.get(provider) if float32 else None
    return provider if options is None else (provider, dict(options))


def require_provider(session: Any, name: str, provider: str) -> None:
    """Refuse a session that runs elsewhere: ONNX Runtime takes the CPU if a device fails.

    Args:
        session: The session.
        name: Of its file, for errors.
        provider: The provider that was asked for.

    Raises:
        ArgumentError: It is not the session's first.
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
