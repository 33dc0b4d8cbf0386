"""Load a pruned network: code builds it, and the file says what its normalizers became."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.nn.parameter import is_lazy

from ssn_prune.checkpoint.input_file import open_input
from ssn_prune.checkpoint.safetensors import read_safetensors
from ssn_prune.checkpoint.stored import StoredTensor
from ssn_prune.checkpoint.tensors import to_torch
from ssn_prune.checkpoint.unpickling.values import Pairs
from ssn_prune.errors import ArgumentError, CheckpointError, KeyMismatchError
from ssn_prune.pruned_weights.describing import fill_memory, named_tensors
from ssn_prune.pruned_weights.parsing import parse_plan
from ssn_prune.pruned_weights.records import StoredPlan
from ssn_prune.pruned_weights.restoring import restored
from ssn_prune.surgery.guest import guest
from ssn_prune.text import listed, shown

_MOST_ELEMENTS = 2**53
_OTHER = "pass the function that builds the network whose weights were pruned"


@guest()
def load_pruned(path: Path | str, factory: Callable[[], nn.Module]) -> nn.Module:
    """Restore a pruned network from its weights.

    Neither the checkpoint nor its gates are needed, and nothing in the file is executed. On the
    same machine the outputs are bitwise equal to those of the pruned network that was saved.

    Args:
        path: A safetensors file written by :func:`ssn_prune.save_pruned` or
            :func:`ssn_prune.convert`.
        factory: Builds the network as for training, either with switchable layers or with others in
            their places, such as the BatchNorm layers before they were swapped. Its weights do not
            matter.

    Returns:
        The network in evaluation mode. Its parameters can be trained.

    Raises:
        CheckpointError: The file cannot be read, holds no pruned weights, is damaged, or belongs to
            another network.
        KeyMismatchError: The tensors in the file are not those of the network.
        ArgumentError: ``factory`` does not return a network.
    """
    file_path = Path(path)
    with open_input(file_path) as file:
        content, metadata = read_safetensors(file)
        plan = parse_plan(file_path, metadata)
        stored = _described(file_path, plan, content)
        # No tensor is read before it is known to belong to the network.
        sketch = {name: _sketch(tensor) for name, tensor in stored.items()}
        network = _built(factory)
        _require_initialized(named_tensors(network))
        network = restored(network, plan, sketch, file_path)
        _require_same(file_path, network, sketch, stored)
        _require_strides(file_path, plan, sketch)
        tensors = to_torch(stored)
    _assign(network, plan, tensors)
    network.eval()  # as a statement: overridden train methods need not return the module
    return network


def _built(factory: Callable[[], nn.Module]) -> nn.Module:
    network: object = None
    if not isinstance(factory, nn.Module) and callable(factory):
        network = factory()
    if not isinstance(network, nn.Module):
        raise ArgumentError(
            "`factory=` builds no network",
            expected="a function without arguments that returns a new torch.nn.Module",
            found=type(network).__name__,
            hint="pass `factory=lambda: Network()`, with the arguments of the training",
        )
    return network


def _described(path: Path, plan: StoredPlan, content: Pairs) -> dict[str, StoredTensor]:
    """The tensors that the file describes, which must be as its plan says."""
    found: dict[str, StoredTensor] = {}
    for key, tensor in content.items():
        name = str(key)
        wanted = plan.dtypes.get(name, "float32")
        kind = tensor.dtype if isinstance(tensor, StoredTensor) else "an unknown one"
        if not isinstance(tensor, StoredTensor) or kind != wanted:
            raise _odd_tensor(path, name, f"a tensor of {wanted}", f"one of {kind}")
        if math.prod(max(size, 1) for size in tensor.shape) > _MOST_ELEMENTS:
            shape = f"the shape {str(tensor.shape)[:80]}"
            raise _odd_tensor(path, name, "a shape that fits into memory", shape)
        found[name] = tensor
    return found


def _odd_tensor(path: Path, name: str, expected: str, found: str) -> CheckpointError:
    return CheckpointError(
        f"{shown(name)} in {path} is not what its plan says",
        expected=expected,
        found=found,
        hint="save the pruned weights again, and copy the file whole",
    )


def _sketch(stored: StoredTensor) -> Tensor:
    """The same tensor on the meta device, without memory."""
    return torch.empty(stored.shape, dtype=getattr(torch, stored.dtype), device="meta")


def _require_strides(path: Path, plan: StoredPlan, tensors: Mapping[str, Tensor]) -> None:
    for name, strides in plan.strides.items():
        if name not in tensors or not fill_memory(tensors[name].shape, strides):
            raise CheckpointError(
                f"the plan in {path} has strides that do not fit {shown(name)}",
                expected="an order in which the tensor fills its memory",
                found=str(strides)[:80],
                hint="save the pruned weights again",
            )


def _require_same(
    path: Path,
    network: nn.Module,
    tensors: Mapping[str, Tensor],
    stored: Mapping[str, StoredTensor],
) -> None:
    own = named_tensors(network)
    missing = [name for name in own if name not in tensors]
    unexpected = [name for name in tensors if name not in own]
    shared = [name for name in own if name in tensors]
    misshaped = [
        f"{name}: {tuple(tensors[name].shape)} in the file, {tuple(own[name].shape)} in the network"
        for name in shared
        if tensors[name].shape != own[name].shape
    ]
    kinds = [name for name in shared if _kind(tensors[name]) != _kind(own[name])]
    first: dict[int, str] = {}
    for name in shared:
        other = first.setdefault(id(own[name]), name)
        if stored[other] is not stored[name]:
            raise CheckpointError(
                f"{shown(name)} and {shown(other)} are two tensors in {path}, one of the network",
                expected="one tensor under both names",
                found="a tensor for each name",
                hint=_OTHER,
            )
    if kinds:
        name = kinds[0]
        raise CheckpointError(
            f"{shown(name)} in {path} is of another kind than the network's",
            expected=f"a tensor like {own[name].dtype}",
            found=f"one of {tensors[name].dtype}",
            hint=_OTHER,
        )
    if missing or unexpected or misshaped:
        counts = {"missing": missing, "unexpected": unexpected, "of another shape": misshaped}
        raise KeyMismatchError(
            f"the pruned weights in {path} do not fit {type(network).__name__}",
            missing=missing,
            unexpected=unexpected,
            misshaped=misshaped,
            expected=f"the {len(own)} tensors of the network, as its plan changes it",
            found="; ".join(
                f"{len(names)} {what}: {listed([shown(name) for name in names], 4)}"
                for what, names in counts.items()
                if names
            ),
            hint=_OTHER,
        )


def _require_initialized(own: Mapping[str, Tensor]) -> None:
    lazy = [name for name, tensor in own.items() if is_lazy(tensor)]
    if lazy:
        raise ArgumentError(
            "the network of `factory=` does not know its sizes yet",
            expected="a network whose parameters have their shapes",
            found=f"lazy parameters: {listed(lazy, 4)}",
            hint="let `factory=` run the network once on inputs of the training's size",
        )


def _kind(tensor: Tensor) -> str:
    """``real`` for floating point of any precision, else the dtype."""
    return "real" if tensor.is_floating_point() else str(tensor.dtype)


def _assign(network: nn.Module, plan: StoredPlan, tensors: Mapping[str, Tensor]) -> None:
    """Put the tensors of the file in their places; one with several names stays one tensor.

    The network's tensors stay the same objects, because its code may also hold them in lists.
    """
    frozen = set(plan.frozen)
    made: dict[tuple[int, bool], Tensor] = {}
    for name, old in named_tensors(network).items():
        module_name, _, attribute = name.rpartition(".")
        module = network.get_submodule(module_name)
        value, is_parameter = tensors[name], isinstance(old, nn.Parameter)
        place = value.data_ptr(), is_parameter
        if place not in made or not value.numel():
            strides = plan.strides.get(name, value.stride())
            like = torch.empty_strided(value.shape, strides, dtype=value.dtype).copy_(value)
            trained = is_parameter and value.is_floating_point() and name not in frozen
            made[place] = _filled(old, like, is_parameter, trained)
        elif old is not made[place] and not old.is_meta:
            old.data = made[place].data
        table = module._parameters if attribute in module._parameters else module._buffers
        table[attribute] = made[place]  # type: ignore[assignment]  # of the kind of its table


def _filled(old: Tensor, value: Tensor, is_parameter: bool, trained: bool) -> Tensor:
    """The old tensor with new values, or a new tensor where the old one has no memory."""
    if old.is_meta:
        return nn.Parameter(value, trained) if is_parameter else value
    old.requires_grad_(False)  # integers cannot have gradients, and the dtype may change
    old.data = value
    return old.requires_grad_(trained)
