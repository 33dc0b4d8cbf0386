"""Ordinary networks as networks whose gates have already chosen; they compute the same."""

from __future__ import annotations

from torch import nn

from ssn_prune.nn.ssn import SSN
from ssn_prune.surgery.to_ssn import SwapResult, convert_to_ssn


def with_fixed_choices(model: nn.Module) -> SwapResult:
    """A copy in which each norm layer is an SSN layer with gates frozen at what the layer was.

    Args:
        model: A network with BatchNorm, InstanceNorm, GroupNorm(1, C) or LayerNorm layers; not
            changed.

    Returns:
        The copy, which gives the same outputs in evaluation, and what became of every layer. Norms
        that are none of IN, LN and BN stay as they are.

    Raises:
        NoSwitchableLayerError: There is no norm layer that could be swapped.
    """
    result = convert_to_ssn(model)
    for record in result.layers:
        if record.new is not None and record.choice is not None:
            layer = result.model.get_submodule(record.names[0])
            if isinstance(layer, nn.Sequential):  # a norm with its activation
                layer = layer[0]
            assert isinstance(layer, SSN)  # convert_to_ssn makes them
            layer.fix(record.choice, record.choice)
    return result
