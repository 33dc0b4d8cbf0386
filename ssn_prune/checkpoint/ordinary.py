"""Checkpoints of ordinary networks, whose norms could be others."""

from __future__ import annotations

from dataclasses import replace

from ssn_prune.checkpoint.loading import LoadedCheckpoint
from ssn_prune.nn.switchable import SwitchableNorm
from ssn_prune.surgery.ordinary import with_fixed_choices


def as_switchable(loaded: LoadedCheckpoint) -> LoadedCheckpoint:
    """The checkpoint with switchable layers: itself, or one whose gates are what its norms were.

    Args:
        loaded: The checkpoint of a network with switchable layers, or with BatchNorm, InstanceNorm,
            GroupNorm(1, C) or LayerNorm.

    Returns:
        The checkpoint. If layers were swapped, ``given`` is the ordinary network, so that both can
        be compared.

    Raises:
        NoSwitchableLayerError: There is no norm layer that could be swapped.
    """
    if any(isinstance(module, SwitchableNorm) for module in loaded.model.modules()):
        return loaded
    swapped = with_fixed_choices(loaded.model).model
    swapped.eval()
    return replace(loaded, model=swapped, given=loaded.model)
