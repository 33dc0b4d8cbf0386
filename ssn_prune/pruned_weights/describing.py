"""From a pruned network to the plan in its file."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import torch
from torch import Tensor, nn

from ssn_prune.errors import ExportError
from ssn_prune.pruned_weights.records import PLAN_VERSION, StoredLayer, StoredPlan
from ssn_prune.pruning.capture.size_check import SizeCheck
from ssn_prune.pruning.forms.settings import settings_of
from ssn_prune.pruning.plan import LayerPlan
from ssn_prune.pruning.prune import PruneResult
from ssn_prune.text import listed


def stored_plan(pruned: PruneResult) -> StoredPlan:
    """The plan that the file of a pruned network stores.

    Raises:
        ExportError: The network keeps state that is not in tensors.
    """
    model = pruned.model
    _require_tensors_only(model)
    parameters = dict(model.named_parameters(remove_duplicate=False))
    tensors = named_tensors(model)
    dtypes = {name: str(t.dtype).removeprefix("torch.") for name, t in tensors.items()}
    return StoredPlan(
        version=PLAN_VERSION,
        layers=tuple(_stored_layer(layer, pruned) for layer in pruned.plan.layers),
        created_biases=tuple(_created_biases(pruned)),
        frozen=tuple(name for name, value in parameters.items() if not value.requires_grad),
        dtypes={name: dtype for name, dtype in dtypes.items() if dtype != "float32"},
        strides={
            name: _strides(tensor)
            for name, tensor in tensors.items()
            if _strides(tensor) != _strides(torch.empty(tensor.shape, device="meta"))
            and fill_memory(tensor.shape, tensor.stride())
        },
        size_conditions=tuple(
            guard.text
            for hook in model._forward_pre_hooks.values()
            if isinstance(hook, SizeCheck)
            for guard in hook.guards
        ),
    )


def named_tensors(model: nn.Module) -> dict[str, Tensor]:
    """All parameters and buffers under all their names, including those not in the state dict.

    A non-persistent buffer may have changed since the network was built, and is stored nowhere
    else.
    """
    named = dict(model.named_parameters(remove_duplicate=False))
    return named | dict(model.named_buffers(remove_duplicate=False))


def _strides(tensor: Tensor) -> tuple[int, ...]:
    """Strides, with 1 for axes of size 1, whose strides have no meaning."""
    pairs = zip(tensor.stride(), tensor.shape, strict=True)
    return tuple(1 if size == 1 else stride for stride, size in pairs)


def fill_memory(shape: Sequence[int], strides: Sequence[int]) -> bool:
    """Whether elements with these strides fill their memory without gaps or overlaps."""
    if len(shape) != len(strides):
        return False
    place = 1
    for stride, size in sorted(zip(strides, shape, strict=True)):
        if size > 1 and stride != place:
            return False
        place *= size
    return place > 0


def _stored_layer(layer: LayerPlan, pruned: PruneResult) -> StoredLayer:
    selected = next(entry for entry in pruned.selection.layers if entry.name == layer.name)
    mean, var = selected.mean.ratios, selected.var.ratios
    return StoredLayer(
        name=layer.name,
        aliases=layer.aliases,
        mean=(mean[0], mean[1], mean[2]),
        var=(var[0], var[1], var[2]),
        form=layer.form,
        settings=settings_of(layer, pruned.model.get_submodule(layer.name)),
        fold=None if layer.fold is None else layer.fold.code,
        folded_into=None if layer.fold is None else layer.fold.target,
        absorbs=layer.absorbs,
        centre=layer.centre,
    )


def _created_biases(pruned: PruneResult) -> Iterator[str]:
    for layer in pruned.plan.layers:
        kernel = None if layer.fold is None else layer.fold.kernel
        place = None if kernel is None else kernel.bias
        if place is None:
            continue
        before = getattr(pruned.original.get_submodule(place.module), place.attribute)
        after = getattr(pruned.model.get_submodule(place.module), place.attribute)
        if before is None and after is not None:
            yield f"{place.module}.{place.attribute}" if place.module else place.attribute


def _require_tensors_only(model: nn.Module) -> None:
    """Refuse modules with extra state, which the file cannot store."""
    own = [
        name or type(module).__name__
        for name, module in model.named_modules()
        if type(module).get_extra_state is not nn.Module.get_extra_state
    ]
    if own:
        raise ExportError(
            "the pruned network keeps state that is no parameter and no buffer",
            expected="a network whose state is parameters and buffers",
            found=f"modules with get_extra_state: {listed(own, 4)}",
            hint="keep what these modules need in buffers, or in arguments of the network",
        )
