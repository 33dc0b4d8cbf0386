"""Which inputs the kernels take."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from ssn_prune.nn.fused.devices import runs_on
from ssn_prune.nn.planes import is_jit_traced

_DTYPES = (torch.float32, torch.float16, torch.bfloat16)
_PLAIN = (Tensor, torch.nn.Parameter)
# The kernels count in 32 bits, a tile beyond the end included: the entries of a sample, and up to
# 19 numbers of every plane.
_MOST_INDICES = 2**31 - 2**24
_MOST_OF_A_PLANE = 19


def runs_fused(x: Tensor) -> bool:
    """Whether the kernels take this input in eager mode.

    They take plain CUDA tensors of single and half precision. Tracing and function transforms need
    operators of torch instead.
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

    An exported file must not hold one, so an export sees the plain formula.
    """
    if not torch.compiler.is_dynamo_compiling():
        return False
    from ssn_prune.nn.fused.compiling import compiles_kernels  # imports the compiler

    return bool(compiles_kernels(x.device)) and _is_suited(x)


def take(x: Tensor, *state: Tensor | None) -> bool:
    """Whether the kernels take the tensors of a layer, which they know by their addresses.

    Other tensors go to the operators of torch, which take them or say what is wrong.

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


def _is_suited(x: Tensor) -> bool:
    planes = x.shape[0] * x.shape[1]
    return (
        x.dtype in _DTYPES
        and planes * _MOST_OF_A_PLANE <= _MOST_INDICES
        and math.prod(x.shape[1:]) <= _MOST_INDICES
    )
