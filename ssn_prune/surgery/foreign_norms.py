"""Norm layers of torch, torchvision and timm, read in terms of IN, LN and BN."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm, _NormBase
from torch.nn.modules.instancenorm import _InstanceNorm
from torch.nn.modules.lazy import LazyModuleMixin

from ssn_prune.nn.plane_norm import PlaneNorm
from ssn_prune.nn.switchable import SwitchableNorm
from ssn_prune.normalizer import Normalizer

Fit = Literal["exact", "in evaluation", "nearest"]


@dataclass(frozen=True)
class NormSource:
    """What a norm layer computes.

    Attributes:
        choice: The normalizer that it is, or the nearest one.
        channels: C.
        spatial_axes: Number of axes after (N, C); None if it takes any.
        weight: Scale, (C,), or None.
        bias: Shift, (C,), or None.
        tracked: Whether it, or its replacement, evaluates with running statistics.
        fit: Whether it is ``choice`` exactly, only in evaluation, or not at all.
        note: Why it is not exact, or what else its replacement needs.
    """

    choice: Normalizer
    channels: int
    spatial_axes: int | None
    weight: nn.Parameter | None
    bias: nn.Parameter | None
    tracked: bool = True
    fit: Fit = "exact"
    note: str = ""


# "Normal" is a distribution, "Normalization" a norm.
_NORM_NAME = re.compile(r"norm(?!al(?!iz))", re.IGNORECASE)
_TAIL = ("drop", "act")
_SYNC = (
    "it shares its statistics among processes: "
    "call ssn_prune.synchronize on the converted network for that"
)
_TRACKED_INSTANCE = "it evaluates with running statistics, as BN does, but is IN in training"
_TENSORS = {"weight", "bias", "running_mean", "running_var", "num_batches_tracked"}


def norms_of(model: nn.Module) -> Iterator[tuple[nn.Module, str]]:
    """All norm layers once, in the model's order, each with the name of the norm that contains it.

    A layer is a norm by its base class, or by its class name if it is not a container. The name is
    ``""`` for nearly all, which no other norm contains. weight_norm and the like do not count.
    """
    inside: dict[int, str] = {}
    for name, module in model.named_modules():
        if "parametrizations" in name.split("."):
            continue
        derived = isinstance(module, _NormBase | nn.GroupNorm | nn.LayerNorm)
        named = _NORM_NAME.search(type(module).__name__) and set(module._modules) <= set(_TAIL)
        if derived or named:
            yield module, inside.get(id(module), "")
            for part in module.modules():
                inside.setdefault(id(part), name or "the network")


def activation_of(norm: nn.Module) -> dict[str, nn.Module]:
    """What timm's layers apply after the norm: ``drop``, then ``act``."""
    parts = {name: norm._modules.get(name) for name in _TAIL}
    return {name: part for name, part in parts.items() if part is not None}


def read_norm(model: nn.Module, norm: nn.Module) -> NormSource | str:
    """Read a layer, or say why it cannot be read as any normalizer.

    Args:
        model: The network, to see which parameters are shared.
        norm: One of its norm layers.
    """
    kind = type(norm).__name__
    if isinstance(norm, PlaneNorm):
        already = "switchable" if isinstance(norm, SwitchableNorm) else "the choice of one"
        return f"it is {already} already"
    if isinstance(norm, LazyModuleMixin):
        return "it is lazy: run the network once, so that its channels are known"
    base = next((c for c in type(norm).__mro__ if _qualified(c) in _READERS), None)
    if base is None:
        return _UNREADABLE.get(_qualified(type(norm)), f"what {kind} computes is not known here")
    if changed := _own_members(norm, base):
        return f"{kind} is a {base.__name__} with {', '.join(changed)} of its own"
    reader, with_tail = _READERS[_qualified(base)]
    held = {*norm._parameters, *norm._buffers, *norm._modules}
    if extra := held - _TENSORS - set(_TAIL if with_tail else ()):
        return f"it holds {', '.join(sorted(extra))} besides what a {base.__name__} has"
    return reader(model, norm)


def _qualified(cls: type) -> str:
    return f"{cls.__module__}.{cls.__qualname__}"


def _own_members(norm: nn.Module, base: type) -> list[str]:
    """Methods and properties that may make a layer differ from its base class."""
    harmless = {"extra_repr", "reset_parameters", "reset_running_stats"}
    classes = type(norm).__mro__[: type(norm).__mro__.index(base)]
    added = {
        name
        for cls in classes
        for name, value in vars(cls).items()
        if (callable(value) or isinstance(value, property | classmethod | staticmethod))
        and (not name.startswith("__") or name == "__call__")
    }
    replaced = {name for name in ("forward", "train") if name in vars(norm)}
    return sorted((added | replaced) - harmless)


def _batch(spatial_axes: int | None) -> Callable[[nn.Module, nn.Module], NormSource | str]:
    def read(_: nn.Module, norm: nn.Module) -> NormSource | str:
        assert isinstance(norm, _BatchNorm)  # by the table
        tracked = norm.running_mean is not None
        complete = tracked == (norm.running_var is not None)
        if not complete or (tracked and not norm.track_running_stats):
            return "its running statistics were switched off after it was built"
        affine = norm.weight, norm.bias
        note = _SYNC if isinstance(norm, nn.SyncBatchNorm) else ""
        return NormSource(
            Normalizer.BN, norm.num_features, spatial_axes, *affine, tracked, note=note
        )

    return read


def _instance(spatial_axes: int) -> Callable[[nn.Module, nn.Module], NormSource | str]:
    def read(_: nn.Module, norm: nn.Module) -> NormSource | str:
        assert isinstance(norm, _InstanceNorm)  # by the table
        source = NormSource(Normalizer.IN, norm.num_features, spatial_axes, norm.weight, norm.bias)
        if norm.track_running_stats:
            choice = Normalizer.BN
            return replace(source, choice=choice, fit="in evaluation", note=_TRACKED_INSTANCE)
        return source

    return read


def _group(_: nn.Module, norm: nn.Module) -> NormSource | str:
    assert isinstance(norm, nn.GroupNorm)  # by the table
    groups, channels = norm.num_groups, norm.num_channels
    if groups == 1:
        return NormSource(Normalizer.LN, channels, None, norm.weight, norm.bias)
    if groups == channels:
        return NormSource(Normalizer.IN, channels, None, norm.weight, norm.bias)
    note = f"{groups} groups of {channels // groups} channels are none of IN, LN and BN"
    affine = norm.weight, norm.bias
    return NormSource(Normalizer.LN, channels, None, *affine, fit="nearest", note=note)


def _layer(model: nn.Module, norm: nn.Module) -> NormSource | str:
    """A LayerNorm whose normalized shape is (C, ...)."""
    assert isinstance(norm, nn.LayerNorm)  # by the table
    shape = norm.normalized_shape
    if len(shape) == 1:
        return (
            "it normalizes the last axis, of tokens or channels-last tensors, "
            "where no channels-first layer can stand"
        )
    if len(shape) > 4:
        return f"there is no switchable layer for {len(shape) - 1} spatial axes"
    values: list[nn.Parameter | None] = []
    for parameter in (norm.weight, norm.bias):
        value = _per_channel(model, parameter)
        if isinstance(value, str):
            return value
        values.append(value)
    return NormSource(Normalizer.LN, shape[0], len(shape) - 1, values[0], values[1])


def _per_channel(model: nn.Module, parameter: nn.Parameter | None) -> nn.Parameter | str | None:
    """The (C,) values of a (C, ...) parameter, or why there are none."""
    if parameter is None:
        return None
    flat = parameter.detach().flatten(1)
    if parameter.is_meta or not torch.equal(flat, flat[:, :1].expand_as(flat)):
        return "its affine parameters differ from position to position"
    owners = [m for m in model.modules() if any(p is parameter for p in m._parameters.values())]
    if len(owners) > 1:
        return "its affine parameters, which have a value per position, are shared"
    values: Tensor = flat[:, 0].clone()
    return nn.Parameter(values, requires_grad=parameter.requires_grad)


def _channel_layer(_: nn.Module, norm: nn.Module) -> NormSource | str:
    assert isinstance(norm, nn.LayerNorm)  # by the table
    note = "it normalizes over the channels of each position, which is none of IN, LN and BN"
    channels = norm.normalized_shape[0]
    return NormSource(Normalizer.LN, channels, 2, norm.weight, norm.bias, fit="nearest", note=note)


# By qualified class name, so that timm need not be installed: the reader, and whether the layer
# applies ``drop`` and ``act`` after the norm.
_Reader = Callable[[nn.Module, nn.Module], NormSource | str]
_READERS: dict[str, tuple[_Reader, bool]] = {
    "torch.nn.modules.batchnorm.BatchNorm1d": (_batch(1), False),
    "torch.nn.modules.batchnorm.BatchNorm2d": (_batch(2), False),
    "torch.nn.modules.batchnorm.BatchNorm3d": (_batch(3), False),
    "torch.nn.modules.batchnorm.SyncBatchNorm": (_batch(None), False),
    "timm.layers.norm_act.BatchNormAct2d": (_batch(2), True),
    "timm.layers.norm_act.SyncBatchNormAct": (_batch(2), True),
    "torch.nn.modules.instancenorm.InstanceNorm1d": (_instance(1), False),
    "torch.nn.modules.instancenorm.InstanceNorm2d": (_instance(2), False),
    "torch.nn.modules.instancenorm.InstanceNorm3d": (_instance(3), False),
    "torch.nn.modules.normalization.GroupNorm": (_group, False),
    "timm.layers.norm.GroupNorm": (_group, False),
    "timm.layers.norm.GroupNorm1": (_group, False),
    "timm.layers.norm_act.GroupNormAct": (_group, True),
    "timm.layers.norm_act.GroupNorm1Act": (_group, True),
    "torch.nn.modules.normalization.LayerNorm": (_layer, False),
    "timm.layers.norm.LayerNorm": (_layer, False),
    "timm.layers.norm.LayerNormFp32": (_layer, False),
    "timm.layers.norm_act.LayerNormAct": (_layer, True),
    "timm.layers.norm_act.LayerNormActFp32": (_layer, True),
    "torchvision.models.convnext.LayerNorm2d": (_channel_layer, False),
    "timm.layers.norm.LayerNorm2d": (_channel_layer, False),
    "timm.layers.norm.LayerNorm2dFp32": (_channel_layer, False),
    "timm.layers.norm.LayerNormExp2d": (_channel_layer, False),
    "timm.layers.norm_act.LayerNormAct2d": (_channel_layer, True),
    "timm.layers.norm_act.LayerNormAct2dFp32": (_channel_layer, True),
}
_FROZEN = "its statistics and affine parameters are constants: make it a BatchNorm2d first"
_UNREADABLE = {
    "torchvision.ops.misc.FrozenBatchNorm2d": _FROZEN,
    "timm.layers.norm_act.FrozenBatchNormAct2d": _FROZEN,
}
