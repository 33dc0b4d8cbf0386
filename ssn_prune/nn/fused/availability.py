"""Where the kernels run."""

from __future__ import annotations

import math
import os
import warnings
from functools import cache
from importlib.util import find_spec

import torch
from torch import Tensor

from ssn_prune.nn.planes import is_jit_traced

_DTYPES = (torch.float32, torch.float16, torch.bfloat16)
_PLAIN = (Tensor, torch.nn.Parameter)
# The kernels count in 32 bits, a tile beyond the end included: the entries of a sample, and up to
# 19 numbers of every plane.
_MOST_INDICES = 2**31 - 2**24
_MOST_OF_A_PLANE = 19


def runs_fused(x: Tensor) -> bool:
    """Whether the kernels take this input in eager mode.

    They take plain CUDA tensors of single and half precision. Where operators are recorded or
    transformed, other forms are needed.
    """
    return (
        not torch.compiler.is_compiling()
        and type(x) in _PLAIN
        and _is_suited(x)
        and not is_jit_traced()
        and torch._C._len_torch_dispatch_stack() == 0
        and torch._C._functorch.maybe_current_level() is None
        and runs_on(x.device)
    )


def runs_operators(x: Tensor) -> bool:
    """Whether a compiler is to see the kernels as operators.

    No file may hold one: an export sees the plain formula.
    """
    if not torch.compiler.is_dynamo_compiling():
        return False
    from ssn_prune.nn.fused.compiling import compiles_kernels  # imports the compiler

    return bool(compiles_kernels(x.device)) and _is_suited(x)


def take(x: Tensor, *state: Tensor | None) -> bool:
    """Whether the kernels take the tensors of a layer, which they know by their addresses.

    What they do not take, the operators of torch do, or say what is wrong with it.

    Args:
        x: The input.
        state: Parameters and buffers.
    """
    device = x.device
    return all(
        value is None
        or (
            value.device == device
            and value.dtype != torch.float64
            and value.is_contiguous()
            and type(value) in _PLAIN
        )
        for value in state
    )


@cache
def runs_on(device: torch.device) -> bool:
    """Whether there are kernels for tensors of a device.

    Triton comes with torch where torch has CUDA. To launch anything it needs a C compiler, Python's
    headers and a GPU that it knows, which only a launch tells.
    """
    interpreted = device.type == "cpu" and os.environ.get("TRITON_INTERPRET") == "1"
    if not (device.type == "cuda" or interpreted) or find_spec("triton") is None:
        return False
    try:
        from ssn_prune.nn.fused.kernels.trial import launch_trial

        launch_trial(device)
    except Exception as error:  # noqa: BLE001 - whatever is missing, training goes on without
        warnings.warn(
            f"Triton launches no kernels on {device}, so switchable layers train by several times "
            f"as many operators of torch; the cause: {type(error).__name__}: {error}",
            stacklevel=2,
        )
        return False
    return True


def _is_suited(x: Tensor) -> bool:
    planes = x.shape[0] * x.shape[1]
    return (
        x.dtype in _DTYPES
        and planes * _MOST_OF_A_PLANE <= _MOST_INDICES
        and math.prod(x.shape[1:]) <= _MOST_INDICES
    )
