"""Which networks the sweep takes: all of torchvision, and the smallest of every timm family."""

from __future__ import annotations

import warnings
from dataclasses import dataclass

import torch
from sweep_models import build
from torch import nn

from ssn_prune import convert_to_ssn
from ssn_prune.errors import NoSwitchableLayerError
from ssn_prune.nn.switchable import SwitchableNorm


@dataclass(frozen=True)
class Candidate:
    """A network that was built without memory, to see what it is made of."""

    name: str
    parameters: int
    swappable: bool


def torchvision_names() -> list[str]:
    from torchvision import models

    return [f"torchvision:{name}" for name in models.list_models()]


def timm_names() -> list[str]:
    import timm

    return [f"timm:{name}" for name in timm.list_models()]


def smallest_of_each_timm_family() -> list[str]:
    """Per family (a module of ``timm.models``) the smallest network that has a norm to swap.

    The smallest of all where none has one, so that every family has its line in the table.
    """
    import timm

    chosen = []
    for family in timm.models.list_modules():
        found = [_candidate(name) for name in timm.list_models(module=family)]
        if found:
            best = min(found, key=lambda c: (not c.swappable, c.parameters, c.name))
            chosen.append(f"timm:{best.name}")
    return chosen


def layers_to_swap(name: str) -> int | str:
    """How many norms of a network can be swapped, or why none can; built without memory."""
    try:
        with warnings.catch_warnings(), torch.device("meta"):
            warnings.simplefilter("ignore")  # notes on renamed models
            network = convert_to_ssn(build(name), inplace=True).model
    except NoSwitchableLayerError as error:
        return error.found or ""
    return sum(isinstance(module, SwitchableNorm) for module in network.modules())


def _candidate(name: str) -> Candidate:
    import timm

    with warnings.catch_warnings(), torch.device("meta"):
        warnings.simplefilter("ignore")  # timm's notes on renamed models
        model = timm.create_model(name, pretrained=False)
    parameters = sum(parameter.numel() for parameter in model.parameters())
    return Candidate(name, parameters, any(map(_looks_swappable, model.modules())))


def _looks_swappable(module: nn.Module) -> bool:
    """By class only: what really can be swapped is for the conversion to say."""
    if isinstance(module, nn.GroupNorm):
        return module.num_groups in (1, module.num_channels)
    batch = nn.BatchNorm1d | nn.BatchNorm2d | nn.BatchNorm3d | nn.SyncBatchNorm
    return isinstance(module, batch | nn.InstanceNorm1d | nn.InstanceNorm2d | nn.InstanceNorm3d)
