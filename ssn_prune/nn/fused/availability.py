"""Where the kernels run."""

from __future__ import annotations

import os
from functools import cache
from importlib.util import find_spec

import torch
from torch import Tensor

from ssn_prune.nn.planes import is_jit_traced

_DTYPES = (torch.float32, torch.float16, torch.bfloat16)


def runs_fused(x: Tensor) -> bool:
    """Whether the kernels take this input in eager mode.

    They take plain CUDA tensors of single and half precision. Where operators are recorded or
    transformed, other forms are needed.
    """
    return (
        _is_suited(x)
        and not torch.compiler.is_compiling()
        and type(x) in (Tensor, torch.nn.Parameter)
        and not is_jit_traced()
        and torch._C._len_torch_dispatch_stack() == 0
        and torch._C._functorch.maybe_current_level() is None
        and has_triton()
    )


def runs_operators(x: Tensor) -> bool:
    """Whether a compiler is to see the kernels as operators.

    No file may hold one: an export sees the plain formula.
    """
    return torch.compiler.is_dynamo_compiling() and _is_suited(x) and _compiles_kernels()


def runs_on(device: torch.device) -> bool:
    """Whether there are kernels for tensors of a device."""
    return (device.type == "cuda" or (device.type == "cpu" and is_interpreted())) and has_triton()


def _is_suited(x: Tensor) -> bool:
    return x.dtype in _DTYPES and (x.is_cuda or (x.device.type == "cpu" and is_interpreted()))


@torch.compiler.assume_constant_result  # type: ignore[untyped-decorator]
def _compiles_kernels() -> bool:
    # Asked outside of what is traced: inside, torch 2.11 takes every compilation for an export.
    return has_triton() and not torch.compiler.is_exporting()


@cache
def has_triton() -> bool:
    """Whether Triton is installed. It comes with torch where torch has CUDA."""
    return find_spec("triton") is not None


@torch.compiler.assume_constant_result  # type: ignore[untyped-decorator]
def is_interpreted() -> bool:
    """Whether Triton's interpreter runs the kernels, on tensors of the CPU."""
    return _is_interpreter_set()


@cache
def _is_interpreter_set() -> bool:  # Triton reads it once, too
    return os.environ.get("TRITON_INTERPRET") == "1"
