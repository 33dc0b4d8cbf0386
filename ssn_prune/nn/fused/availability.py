"""Where the kernels run."""

from __future__ import annotations

import os
from functools import cache
from importlib.util import find_spec

import torch
from torch import Tensor

from ssn_prune.nn.planes import is_traced

_DTYPES = (torch.float32, torch.float16, torch.bfloat16)


@cache
def has_triton() -> bool:
    """Whether Triton is installed."""
    return find_spec("triton") is not None


def is_interpreted() -> bool:
    """Whether Triton's interpreter runs the kernels, on tensors of the CPU."""
    return os.environ.get("TRITON_INTERPRET") == "1"


def runs_fused(x: Tensor) -> bool:
    """Whether the kernels take this input.

    They do for plain CUDA tensors of single and half precision, unless operators are recorded: a
    compiler fuses the plain formula, and no file may hold an operator of ours.
    """
    return (
        (x.is_cuda or (x.device.type == "cpu" and is_interpreted()))
        and x.dtype in _DTYPES
        and type(x) in (Tensor, torch.nn.Parameter)
        and not is_traced()
        and torch._C._len_torch_dispatch_stack() == 0
        and torch._C._functorch.maybe_current_level() is None
        and has_triton()
    )
