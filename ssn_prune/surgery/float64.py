"""Running networks in float64.

A copy of a network has only float64 tensors, but the network's code may make float32 ones itself:
``torch.arange(n).float()``, ``torch.zeros(n, dtype=torch.float32)``, constants outside of its
buffers. :func:`float64_arithmetic` widens those. What it cannot reach (an operator that is asked to
compute in half precision, compiled code) is recorded, since such a run is not a float64 run.
"""

from __future__ import annotations

import contextlib
import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode
from torch.utils import _pytree as pytree
from torch.utils._python_dispatch import TorchDispatchMode

from ssn_prune.nn.ssn import SSN
from ssn_prune.surgery._shared_parameters import shared_copy
from ssn_prune.surgery.copying import cast_copy

_WIDE = {torch.float32: torch.float64, torch.complex64: torch.complex128}
_OPERATORS = ["add", "sub", "mul", "truediv", "floordiv", "mod", "pow", "matmul"]
_OPERATORS += ["and", "or", "xor", "lshift", "rshift"]
_WRITING = {"__setitem__", "__set__", *(f"__i{name}__" for name in _OPERATORS)}


def float64_copy(model: nn.Module) -> nn.Module:
    """An evaluation-mode copy of ``model`` (not changed) with all floating tensors in float64.

    Complex tensors become complex128. No float32 copy is made on the way.
    """
    return cast_copy(shared_copy(model), torch.float64, own_memory=True)


def as_reference_in_float64(model: nn.Module) -> nn.Module:
    """Solve the reference code's gates as that code does when it runs in float64, in place.

    Everywhere else they are solved in float32, as in training.
    """
    for layer in model.modules():
        if isinstance(layer, SSN):
            layer.float64_gates = True
    return model


@dataclass
class Precision:
    """What is known about a run in float64.

    Attributes:
        narrow_operator: The first operator that nevertheless gave a floating tensor of lower
            precision; None if there was none.
        repeats: Whether an operator is running whose result may be computed again.
    """

    narrow_operator: str | None = None
    repeats: bool = False


@contextlib.contextmanager
def float64_arithmetic() -> Iterator[Precision]:
    """While this lasts, torch computes in float64.

    Existing float32 tensors keep their precision, but results computed from them are float64.
    """
    precision = Precision()
    with _Watching(precision), _Widening(precision):
        yield precision


class _Widening(TorchFunctionMode):
    """Calls torch's functions on float64 tensors and returns no float32 ones."""

    def __init__(self, precision: Precision) -> None:
        super().__init__()
        self.precision = precision

    def __torch_function__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Any = None
    ) -> Any:
        del types
        kwargs = kwargs or {}
        if func is Tensor.float:
            func = Tensor.double
        name = getattr(func, "__name__", "")
        writes = name in _WRITING or re.fullmatch(r"\w*[^_]_", name) is not None
        kept = args[:1] if writes else ()  # written to in place, so it must stay the same tensor
        rest, named = pytree.tree_map(_wide, (args[len(kept) :], kwargs))
        if "out" in named:
            named["out"] = kwargs["out"]
        if kept or _any_floating((rest, named)):
            result = func(*kept, *rest, **named)
            return result if kept else _wide(result)
        return self._from_nothing_floating(func, rest, named)

    def _from_nothing_floating(self, func: Any, args: Any, named: Any) -> Any:
        """What is computed from numbers or integer tensors is float32 by default: redo it wider."""
        self.precision.repeats = True
        try:
            result = func(*args, **named)
        finally:
            self.precision.repeats = False
        if not (isinstance(result, Tensor) and result.dtype in _WIDE):
            return result
        if _any_tensor((args, named)):
            wider, more = pytree.tree_map(_floating, (args, named)), {}
        else:
            wider, more = (args, named), {"dtype": _WIDE[result.dtype]}
        try:
            return _wide(func(*wider[0], **{**wider[1], **more}))
        except (TypeError, RuntimeError):  # it takes no such argument: the values are constants
            return _wide(result)


class _Watching(TorchDispatchMode):
    """Records the first operator that gives a floating tensor narrower than float64."""

    only_watches = True  # the switchable layers may leave torch, see ssn_prune.nn.planes

    def __init__(self, precision: Precision) -> None:
        super().__init__()  # type: ignore[no-untyped-call]  # untyped in torch
        self.precision = precision

    def __torch_dispatch__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Any = None
    ) -> Any:
        del types
        result = func(*args, **(kwargs or {}))
        if self.precision.narrow_operator is None and not self.precision.repeats:
            leaves = result if isinstance(result, tuple | list) else (result,)
            if any(isinstance(leaf, Tensor) and _is_narrow(leaf.dtype) for leaf in leaves):
                self.precision.narrow_operator = str(func)
        return result


def _is_narrow(dtype: torch.dtype) -> bool:
    if dtype.is_complex:
        return dtype is not torch.complex128
    return dtype.is_floating_point and dtype is not torch.float64


def _wide(leaf: Any) -> Any:
    if isinstance(leaf, torch.dtype):
        return _WIDE.get(leaf, leaf)
    if isinstance(leaf, Tensor) and leaf.dtype in _WIDE:
        return leaf.to(_WIDE[leaf.dtype])
    return leaf


def _floating(leaf: Any) -> Any:
    counts = isinstance(leaf, Tensor) and leaf.dtype is not torch.bool
    return leaf.double() if counts else leaf


def _any_tensor(values: Any) -> bool:
    return any(isinstance(leaf, Tensor) for leaf in pytree.tree_leaves(values))


def _any_floating(values: Any) -> bool:
    return any(
        isinstance(leaf, Tensor) and (leaf.is_floating_point() or leaf.is_complex())
        for leaf in pytree.tree_leaves(values)
    )
