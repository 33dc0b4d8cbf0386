"""Rounds the soft gates of a whole network to hard ones."""

from __future__ import annotations

from torch import nn

from ssn_prune.nn.ssn import SSN, SSN1d, SSN2d, SSN3d
from ssn_prune.nn.switchable import SwitchableNorm
from ssn_prune.selection import select
from ssn_prune.surgery.copying import copy_model, copy_replacing

_BY_DIMS: dict[tuple[int, ...], type[SSN]] = {kind.dims: kind for kind in (SSN1d, SSN2d, SSN3d)}


def round_gates(model: nn.Module) -> nn.Module:
    """A copy in which every gate is rounded to its largest ratio (lowest index on a tie).

    Args:
        model: A network with switchable layers, at least one; not changed.

    Returns:
        The copy, in which SN layers become SSN layers, since they cannot hold one-hot gates.
    """
    rounded = copy_model(model)
    replaced: list[tuple[nn.Module, nn.Module]] = []
    for chosen in select(rounded).layers:
        layer = rounded.get_submodule(chosen.name)
        assert isinstance(layer, SwitchableNorm)  # selections name switchable layers only
        target = layer if isinstance(layer, SSN) else as_ssn(layer)
        target.fix(chosen.pair.mean, chosen.pair.var)
        if target is not layer:
            replaced.append((layer, target))
    return copy_replacing(rounded, replaced)


def as_ssn(layer: SwitchableNorm) -> SSN:
    """An SSN layer on the same parameters and statistics, with gates of its own."""
    target = _BY_DIMS[layer.dims](
        layer.num_features,
        eps=layer.eps,
        momentum=layer.momentum,
        affine=layer.affine,
        track_running_stats=layer.track_running_stats,
        normalizers=layer.normalizers,
        shared_gate=layer.shared_gate,
        correction=layer.correction,
        device=layer.mean_weight.device,
        dtype=layer.mean_weight.dtype,
    )
    for name in ("weight", "bias", "running_mean", "running_var", "num_batches_tracked"):
        setattr(target, name, getattr(layer, name))
    target.batch_groups, target.reduction = layer.batch_groups, layer.reduction
    target.training = layer.training
    return target
