"""Replaces layers with one-hot gates by the selected normalizers in the middle of training."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from ssn_prune.errors import UnsupportedLayerError
from ssn_prune.nn.fused import runs_on
from ssn_prune.nn.inference import InstanceNorm2d, InstanceNorm3d
from ssn_prune.nn.plane_norm import PlaneNorm
from ssn_prune.nn.selected import SelectedNorm
from ssn_prune.nn.ssn import SSN
from ssn_prune.nn.switchable import SwitchableNorm
from ssn_prune.normalizer import Normalizer, NormalizerPair
from ssn_prune.selection import select
from ssn_prune.surgery.copying import all_names, carry_hooks, replace_modules
from ssn_prune.surgery.from_reference import require_own_forward

_BATCH_NORMS: dict[tuple[int, ...], Any] = {
    (2, 3): nn.BatchNorm1d,
    (4,): nn.BatchNorm2d,
    (5,): nn.BatchNorm3d,
}
_INSTANCE_NORMS: dict[tuple[int, ...], Any] = {(4,): InstanceNorm2d, (5,): InstanceNorm3d}


@dataclass(frozen=True)
class FrozenLayer:
    """One layer that was swapped.

    Attributes:
        names: All its paths in the network.
        pair: What it had selected.
        switchable: The layer itself, with its gates.
        trained: The module that takes its place.
    """

    names: tuple[str, ...]
    pair: NormalizerPair
    switchable: SSN
    trained: nn.Module


@dataclass(frozen=True)
class FrozenSelection:
    """A network whose switchable layers were swapped for concrete ones.

    Attributes:
        model: The network that was given, or the new root if that was a layer itself.
        layers: What was swapped, in the network's order.
    """

    model: nn.Module
    layers: tuple[FrozenLayer, ...]

    def __repr__(self) -> str:
        """The network's class and how many layers were swapped."""
        return f"<FrozenSelection of {type(self.model).__name__}: {len(self.layers)} layers>"

    def switchable_state_dict(self) -> dict[str, Tensor]:
        """The state of the network as if nothing had been swapped.

        It loads into the network with SSN layers and is what ``ssn-prune convert`` reads.
        """
        # The dict itself, which also carries the versions that some modules insist on.
        state: dict[str, Tensor] = self.model.state_dict()
        versions = getattr(state, "_metadata", {})
        for layer in self.layers:
            own = _switchable_state(layer)
            for name in layer.names:
                versions[name] = {"version": layer.switchable._version}
                prefix = f"{name}." if name else ""
                for key in list(layer.trained.state_dict()):
                    del state[prefix + key]
                state.update({prefix + key: value for key, value in own.items()})
        return state


@torch.no_grad()
def freeze_selected(model: nn.Module) -> FrozenSelection:
    """Swap every SSN layer for the normalizer that it selected, in place, to train on.

    The new modules use the very same ``weight`` and ``bias`` parameters and running statistics, so
    an optimizer goes on with its state. The gates are no longer parameters of the model and get no
    gradient. Equal pairs become torch's BatchNorm, InstanceNorm (a subclass that accepts 1x1 maps,
    as SSN does) and GroupNorm(1, C). Mixed pairs become a :class:`SelectedNorm`, which computes
    only what was selected.

    A SelectedNorm also replaces layers for which torch's module would compute something else:
    Bessel-corrected ones, those that share statistics among processes or emulate workers, and
    IN/IN of SSN1d, whose (N, C) inputs InstanceNorm1d takes for one sample. It replaces IN/IN and
    LN/LN on a GPU too, where its kernels (:mod:`ssn_prune.nn.fused`) read less memory.

    From here on a BN/BN layer follows torch's BatchNorm: ``running_var`` is the unbiased estimate
    instead of the population variance, and a training batch with one value per channel (one image
    of 1x1 maps) is refused instead of giving ``bias``.

    Under DistributedDataParallel, swap the wrapped module and wrap the result again: the old
    wrapper would wait for gradients of the gates.

    Args:
        model: A network with SSN layers, all of whose gates are one-hot. Changed in place.

    Returns:
        The network and what was swapped, which can still write a checkpoint with gates.

    Raises:
        NoSwitchableLayerError: The network has no switchable layer.
        UnconvergedGatesError: A gate is not one-hot yet (SN's never are).
        UnsupportedLayerError: A layer is a subclass that computes something of its own, or its
            weight or bias is computed from other parameters. Nothing was swapped.
    """
    selection = select(model)
    selection.require_converged()
    found = []
    for chosen in selection.layers:
        layer = model.get_submodule(chosen.name)
        assert isinstance(layer, SSN)  # SN layers have not converged
        _require_plain(chosen.name, layer)
        found.append((chosen, layer))
    swapped = []
    names = all_names(model)
    for chosen, layer in found:
        trained = _trainable(layer, chosen.pair)
        carry_hooks(layer, trained)
        swapped.append(FrozenLayer(names[id(layer)], chosen.pair, layer, trained))
    model = replace_modules(model, [(layer.switchable, layer.trained) for layer in swapped])
    return FrozenSelection(model, tuple(swapped))


def _require_plain(name: str, layer: SSN) -> None:
    require_own_forward(name, layer)
    computed = [n for n in ("weight", "bias") if n not in layer._parameters]
    if computed:
        raise UnsupportedLayerError(
            f"{name or 'the layer'} has a {' and a '.join(computed)} that is computed from other "
            "parameters",
            expected="parameters that the new layer can take over",
            found=f"a parametrized {type(layer).__name__}",
            hint="remove parametrizations first",
        )


def _trainable(layer: SSN, pair: NormalizerPair) -> nn.Module:
    trained = _native(layer, pair)
    if trained is None:
        trained = selected_norm(layer, pair)
        trained.reduction, trained.batch_groups = layer.reduction, layer.batch_groups
    trained.weight, trained.bias = layer.weight, layer.bias
    if Normalizer.BN in (pair.mean, pair.var):
        for name in ("running_mean", "running_var", "num_batches_tracked"):
            trained._buffers[name] = layer._buffers[name]
    return trained.train(layer.training)


def selected_norm(layer: SwitchableNorm, pair: NormalizerPair) -> SelectedNorm:
    """A pair with the settings and the very same weight and bias of a layer.

    Its running statistics are new, with their initial values.
    """
    selected = SelectedNorm(
        layer.num_features,
        pair,
        layer.dims,
        layer.eps,
        layer.momentum,
        layer.affine,
        layer.track_running_stats,
        correction=layer.correction,
        device=layer.mean_weight.device,
        dtype=layer.mean_weight.dtype,
    )
    selected.weight, selected.bias = layer.weight, layer.bias
    return selected


def _native(layer: SSN, pair: NormalizerPair) -> nn.Module | None:
    """The module of torch if it computes the same, in training too; else None."""
    if pair.mean != pair.var or layer.correction:
        return None
    channels, eps, affine = layer.num_features, layer.eps, layer.affine
    if pair.mean is not Normalizer.BN and runs_on(layer.mean_weight.device):
        return None  # torch has no kernels for these that keep channels-last inputs as they are
    if pair.mean is Normalizer.LN:
        return nn.GroupNorm(1, channels, eps=eps, affine=affine)
    if pair.mean is Normalizer.IN:
        instance_norm = _INSTANCE_NORMS.get(layer.dims)
        if instance_norm is None:
            return None
        native: nn.Module = instance_norm(channels, eps=eps, affine=affine)
        return native
    if layer.reduction is not None or layer.batch_groups > 1:
        return None
    tracked = layer.track_running_stats
    batch_norm: nn.Module = _BATCH_NORMS[layer.dims](channels, eps, layer.momentum, affine, tracked)
    return batch_norm


def _switchable_state(layer: FrozenLayer) -> dict[str, Tensor]:
    """The layer's own state; parameters are shared with the module that took its place."""
    state = {key: value.detach() for key, value in layer.switchable.state_dict().items()}
    tracked = isinstance(layer.trained, nn.modules.batchnorm._BatchNorm | PlaneNorm)
    for name in ("running_mean", "running_var", "num_batches_tracked"):
        value = layer.trained._buffers.get(name) if tracked else None
        if value is not None:
            state[name] = value
    return state
