"""From a network as its code builds it to the pruned one, without its values."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.nn.modules.conv import _ConvNd

from ssn_prune.errors import CheckpointError
from ssn_prune.pruned_weights.records import StoredLayer, StoredPlan
from ssn_prune.pruning.capture.size_check import SizeCheck
from ssn_prune.pruning.capture.size_conditions import SizeGuard
from ssn_prune.pruning.forms.table import FORMS
from ssn_prune.surgery.copying import copy_replacing
from ssn_prune.text import shown

_META = torch.device("meta")  # sizes that come from a file must not allocate memory


def restored(
    network: nn.Module, plan: StoredPlan, tensors: Mapping[str, Tensor], path: Path
) -> nn.Module:
    """Give a network the modules and biases of the pruned one.

    Args:
        network: As its code builds it, with any normalizers. It must not be used afterwards.
        plan: The plan in the file.
        tensors: The tensors of the file, by name.
        path: The file, for errors.

    Returns:
        The network, with the very same tensors. New modules and biases are on the meta device.

    Raises:
        CheckpointError: The plan is for another network.
    """
    replaced: list[tuple[nn.Module, nn.Module]] = []
    for layer in plan.layers:
        concrete = _concrete(layer, path)
        for name in (layer.name, *layer.aliases):
            old = _module_at(network, name, path)
            replaced.append((old, concrete))
    layers = {layer.name for layer in plan.layers}
    for step in (step for layer in plan.layers for step in layer.absorbs):
        if step.module not in layers:
            replaced.append((_module_at(network, step.module, path), nn.Identity()))
    network = copy_replacing(network, replaced)
    for name in plan.created_biases:
        _create_bias(network, name, tensors.get(name), path)
    if plan.size_conditions:
        guards = tuple(SizeGuard(text) for text in plan.size_conditions)
        network.register_forward_pre_hook(SizeCheck(guards), with_kwargs=True)
    return network


def _concrete(layer: StoredLayer, path: Path) -> nn.Module:
    with _META:
        module = FORMS[layer.form].restore(layer.settings)
    held = {**module._parameters, **module._buffers}
    made = {name for name, tensor in held.items() if tensor is not None}
    if made != set(layer.settings.tensors):
        raise CheckpointError(
            f"the plan in {path} contradicts itself at {shown(layer.name)}",
            expected=f"the tensors of the form {layer.form}: {', '.join(sorted(made)) or 'none'}",
            found=", ".join(map(shown, layer.settings.tensors[:8])) or "none",
            hint="save the pruned weights again",
        )
    return module


def _module_at(network: nn.Module, name: str, path: Path) -> nn.Module:
    # Not by getattr: a name in a file may be that of a property, whose code would run.
    modules: dict[str, nn.Module] = dict(network.named_modules(remove_duplicate=False))
    found = modules.get(name)
    if found is None:
        raise CheckpointError(
            f"the pruned weights in {path} are those of another network",
            expected=f"a network with a module {shown(name)}, as the plan names it",
            found=f"{type(network).__name__} without it",
            hint="pass the function that builds the network whose weights were pruned",
        )
    return found


def _create_bias(network: nn.Module, name: str, bias: Tensor | None, path: Path) -> None:
    """Create an empty bias; the kernel's own module says how long it is."""
    module_name, _, attribute = name.rpartition(".")
    module = _module_at(network, module_name, path)
    empty = module._parameters.get(attribute, module) is None
    length = _channels(module)
    if bias is None or length is None or not empty or bias.shape != (length,):
        found = "no such tensor" if bias is None else f"a tensor of the shape {tuple(bias.shape)}"
        expected = f"a vector of {length}, where the network has no bias"
        raise CheckpointError(
            f"the bias {shown(name)} in {path} does not fit the network",
            expected=expected if empty else "a module whose bias a fold could create",
            found=found if empty else f"{type(module).__name__} with {shown(attribute)}, or none",
            hint="pass the function that builds the network whose weights were pruned",
        )
    setattr(module, attribute, nn.Parameter(bias.new_empty(length, device=_META)))


def _channels(module: nn.Module) -> int | None:
    """Output channels of a convolution or linear layer; None for other modules."""
    if isinstance(module, _ConvNd):
        return module.out_channels
    return module.out_features if isinstance(module, nn.Linear) else None
