"""Swaps between layer kinds on whole networks: BatchNorm to SSN, and soft gates to hard ones."""

from __future__ import annotations

from collections import Counter, OrderedDict

import torch
from torch import nn

from ssn_prune.errors import NoSwitchableLayerError
from ssn_prune.layers.copying import carry_hooks, copy_model, replace_module
from ssn_prune.layers.ssn import SSN2d
from ssn_prune.layers.switchable import SwitchableNorm


def convert_to_ssn(model: nn.Module, *, correction: int = 0, inplace: bool = False) -> nn.Module:
    """Replace every 2-d BatchNorm by an :class:`SSN2d`.

    Affine parameters and running statistics are kept; the gates start equal. timm's BatchNorm with
    a built-in activation becomes a Sequential of SSN2d, dropout and activation. A module that is
    used several times stays shared.

    Args:
        model: Any network; not changed unless ``inplace``.
        correction: 1 for Bessel-corrected variances, as in the authors' code.
        inplace: Edit ``model`` itself.

    Returns:
        The network with SSN layers.

    Raises:
        NoSwitchableLayerError: There is no 2-d BatchNorm; the message lists the norms found.
    """
    converted = model if inplace else copy_model(model)
    found = [module for module in converted.modules() if _is_batch_norm(module)]
    if not found:
        kinds = Counter(
            type(module).__name__
            for module in model.modules()
            if "norm" in type(module).__name__.lower()
        )
        listed = ", ".join(f"{count} {kind}" for kind, count in kinds.items()) or "no norm at all"
        raise NoSwitchableLayerError(
            f"{type(model).__name__} has no BatchNorm2d that an SSN layer could replace",
            expected="a network with nn.BatchNorm2d layers",
            found=listed,
            hint="per-position LayerNorm (ConvNeXt, transformers) normalizes over channels only, "
            "which is none of SSN's three normalizers: choose a network with BatchNorm2d",
        )
    for norm in found:
        assert isinstance(norm, nn.BatchNorm2d | nn.SyncBatchNorm)  # by _is_batch_norm
        converted = replace_module(converted, norm, _as_ssn(norm, correction))
    return converted


def _is_batch_norm(module: nn.Module) -> bool:
    plain = type(module) in (nn.BatchNorm2d, nn.SyncBatchNorm)
    return plain or (isinstance(module, nn.BatchNorm2d) and hasattr(module, "act"))


def _as_ssn(norm: nn.BatchNorm2d | nn.SyncBatchNorm, correction: int) -> nn.Module:
    momentum = 0.1 if norm.momentum is None else norm.momentum
    layer = SSN2d(norm.num_features, eps=norm.eps, momentum=momentum, correction=correction)
    with torch.no_grad():
        for name in ("weight", "bias", "running_mean", "running_var"):
            value = getattr(norm, name)
            if value is not None:
                layer.to(device=value.device, dtype=value.dtype)
                getattr(layer, name).copy_(value)
    layer.train(norm.training)
    if type(norm) in (nn.BatchNorm2d, nn.SyncBatchNorm):
        return layer
    tail = [(name, getattr(norm, name, None)) for name in ("drop", "act")]
    parts = [("norm", layer), *((n, part) for n, part in tail if isinstance(part, nn.Module))]
    return nn.Sequential(OrderedDict(parts))


def harden(model: nn.Module) -> nn.Module:
    """A copy in which every gate is rounded to its largest ratio (lowest index on a tie).

    Args:
        model: A network with switchable layers; not changed.

    Returns:
        The copy; SN layers, which cannot hold one-hot gates, are SSN layers there.
    """
    hardened = copy_model(model)
    for layer in [m for m in hardened.modules() if isinstance(m, SwitchableNorm)]:
        target = layer
        if not isinstance(layer, SSN2d):
            target = SSN2d(
                layer.num_features,
                eps=layer.eps,
                momentum=layer.momentum,
                normalizers=layer.normalizers,
                correction=layer.correction,
                device=layer.weight.device,
                dtype=layer.weight.dtype,
            ).train(layer.training)
            target.load_state_dict(layer.state_dict(), strict=False)
            carry_hooks(layer, target)
            hardened = replace_module(hardened, layer, target)
        assert isinstance(target, SSN2d)  # just made one
        with torch.no_grad():
            gates = layer.gates()
            pairs = zip(("mean", "var"), gates, strict=True)
            for name, ratios in pairs:
                choice = int(ratios.argmax())
                weight = getattr(target, f"{name}_weight")
                weight.zero_()
                weight[choice] = 1
                getattr(target, f"{name}_fixed").fill_(1)
    return hardened
