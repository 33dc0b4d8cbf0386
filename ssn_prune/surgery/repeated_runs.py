"""A network that serves as a reference must be a function of its input.

It is run on two inputs in turn, a, b and a again: the first and the third output must be the same
bit by bit. Otherwise it keeps something between its calls or draws random numbers, and no file can
reproduce it.
"""

from __future__ import annotations

import random
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.parameter import UninitializedBuffer, UninitializedParameter
from torch.utils import _pytree as pytree

from ssn_prune.errors import UnsupportedLayerError
from ssn_prune.surgery._shared_parameters import (
    SharedWriteError,
    guarded_memory,
    memory_of,
    run_copy,
)
from ssn_prune.surgery.nested import clone_tensors
from ssn_prune.surgery.output_hooks import SpilledOutputs, run_with_output_hooks


@dataclass(frozen=True)
class Repeated:
    """The runs of a network that is a function of its input.

    Attributes:
        outputs: The tensors of the first run's output.
        changed: Buffers and parameters that the runs changed.
    """

    outputs: list[Tensor]
    changed: tuple[str, ...]


def run_repeatedly(
    model: nn.Module,
    inputs: tuple[Any, ...],
    names: Iterable[str] = (),
    spilled: SpilledOutputs | None = None,
) -> Repeated:
    """Run a network (not changed) three times.

    Args:
        model: The network.
        inputs: Inputs of one call.
        names: Modules whose outputs are recorded in the first run.
        spilled: Where these outputs are kept.

    Raises:
        UnsupportedLayerError: The first and the third output differ, or have no tensors.
        Exception: Whatever the network raises.
    """
    listed = list(names)

    def run(copied: nn.Module) -> Repeated:
        copied.eval()
        before = _state(copied, guarded_memory(model))
        random_state = _random_state()
        if spilled is not None:
            spilled.clear()  # this is called again if the network writes to its parameters
        first = run_with_output_hooks(copied, clone_tensors(inputs), listed, spilled)
        drawn = random_state != _random_state()
        changed = _changed(before, dict(_tensors(copied)))
        if not first:
            raise _no_tensors(model)
        outputs = clone_tensors(first)  # the network may overwrite its own at the next call
        try:
            run_with_output_hooks(copied, other_values(inputs), (), None)
        except SharedWriteError:
            raise
        # The network is the user's code and may refuse these values; then repeat the first input.
        except Exception:  # noqa: BLE001
            run_with_output_hooks(copied, clone_tensors(inputs), (), None)
        third = run_with_output_hooks(copied, clone_tensors(inputs), (), None)
        changed = tuple(dict.fromkeys([*changed, *_changed(before, dict(_tensors(copied)))]))
        if not same_values(outputs, third):
            raise _no_function(model, changed, drawn=drawn)
        return Repeated(outputs, changed)

    return run_copy(model, run)


def other_values(inputs: Any) -> Any:
    """A nested input with the same shapes and ranges: the values of each tensor, shuffled."""
    generator = torch.Generator().manual_seed(0)

    def shuffled(leaf: Any) -> Any:
        if not isinstance(leaf, Tensor) or leaf.layout is not torch.strided:
            return leaf
        order = torch.randperm(leaf.numel(), generator=generator).to(leaf.device)
        mixed = leaf.detach().flatten()[order].view(leaf.shape)
        constant = leaf.is_floating_point() and torch.equal(mixed, leaf)
        return mixed + torch.rand(leaf.shape, generator=generator).to(leaf) if constant else mixed

    return pytree.tree_map(shuffled, inputs)


def same_values(values: list[Tensor], expected: list[Tensor]) -> bool:
    """Whether two lists of tensors are equal; NaN equals NaN."""
    return len(values) == len(expected) and all(map(_same, values, expected))


def _same(a: Tensor, b: Tensor) -> bool:
    if a is b or (a.shape == b.shape and a.dtype == b.dtype and _in_one_place(a, b)):
        return True
    if a.shape != b.shape or a.dtype != b.dtype or a.layout != b.layout:
        return False
    return torch.equal(a, b) or bool(((a == b) | ((a != a) & (b != b))).all())


def _in_one_place(a: Tensor, b: Tensor) -> bool:
    strided = a.layout is torch.strided and b.layout is torch.strided
    return strided and a.numel() > 0 and a.data_ptr() == b.data_ptr() and a.stride() == b.stride()


def _tensors(model: nn.Module) -> Iterator[tuple[str, Tensor]]:
    for name, tensor in [*model.named_parameters(), *model.named_buffers()]:
        if not isinstance(tensor, UninitializedParameter | UninitializedBuffer):
            yield name, tensor.detach()


def _state(model: nn.Module, guarded: set[int]) -> dict[str, Tensor]:
    """What a network holds, copied where it can be written to."""
    return {
        name: tensor if memory_of(tensor) in guarded else tensor.clone()
        for name, tensor in _tensors(model)
    }


def _changed(before: dict[str, Tensor], after: dict[str, Tensor]) -> tuple[str, ...]:
    return tuple(
        name
        for name in dict.fromkeys([*before, *after])
        if name not in before or name not in after or not _same(before[name], after[name])
    )


def _random_state() -> tuple[bytes, bytes, int, Any]:
    _, keys, position, *_ = np.random.get_state()  # the network's, if any
    torch_state = torch.get_rng_state().numpy().tobytes()
    return torch_state, np.asarray(keys).tobytes(), int(position), random.getstate()


def _no_tensors(model: nn.Module) -> UnsupportedLayerError:
    return UnsupportedLayerError(
        f"{type(model).__name__} gives nothing that can be compared",
        expected="an output of tensors, or of tuples, lists, dicts and dataclasses of them",
        found="an output without any tensor that can be reached",
        hint="return tensors, or register the output's class with torch.utils._pytree",
    )


def _no_function(
    model: nn.Module, changed: tuple[str, ...], *, drawn: bool
) -> UnsupportedLayerError:
    if changed:
        shown = ", ".join(changed[:4]) + (", ..." if len(changed) > 4 else "")
        cause = f"it changes {shown} when it runs"
        cause += " and draws random numbers" if drawn else ""
        hint = "write what the network remembers to a file of its own, or take it as an input"
    elif drawn:
        cause = "it draws random numbers in evaluation mode"
        hint = "draw nothing in evaluation mode, or take the random numbers as an input"
    else:
        cause = "it keeps something outside of its buffers, in an attribute, a list or a global"
        hint = "keep nothing between calls in evaluation mode, or take it as an input"
    return UnsupportedLayerError(
        f"{type(model).__name__} is no function of its input: {cause}",
        expected="the same output for the same input, whatever was computed between them",
        found="other outputs for the first input after a second one",
        hint=hint,
    )
