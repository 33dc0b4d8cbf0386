"""Recognise running statistics that are sums over training steps.

With the reference implementation's batch-average training, ``running_mean`` and ``running_var``
add up over the steps and are never divided. The file does not say so, but the numbers do: with T
steps the sums are about T times too large. One forward pass with batch statistics on noise shows
the size that a layer's input really has; every layer is normalized by its own batch there, so the
size of the network's input does not matter beyond the first layer.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable

import torch
from torch import Tensor, nn

from ssn_prune.nn.statistics import instance_moments, pooled_moments
from ssn_prune.nn.switchable import SwitchableNorm
from ssn_prune.normalizer import Normalizer
from ssn_prune.surgery._shared_parameters import run_copy
from ssn_prune.surgery.from_reference import running_sums_error
from ssn_prune.surgery.nested import clone_tensors

ENOUGH_LAYERS = 16
"""The run ends after this number of layers: sums are sums in every layer."""
# Trained averages and noise statistics differ by 10 or so; sums of any real training by 1e4 to 1e6.
SUSPICIOUS_RATIO = 1000.0


class _EnoughError(Exception):
    """Ends a run."""


def require_averages(model: nn.Module, example_inputs: tuple[Tensor, ...]) -> None:
    """Refuse a network whose running statistics are sums.

    Only layers with a gate that uses BN count. A network without any passes.

    Args:
        model: The loaded network; not changed.
        example_inputs: One call's inputs; noise is enough.

    Raises:
        UnsupportedLayerError: The median layer's running second moment is over
            :data:`SUSPICIOUS_RATIO` times that of the probe.
    """
    ratios = run_copy(model, lambda probe: _ratios(probe, example_inputs))
    if ratios and float(torch.tensor(ratios).median()) > SUSPICIOUS_RATIO:
        raise running_sums_error("the checkpoint")


def _ratios(probe: nn.Module, example_inputs: tuple[Tensor, ...]) -> list[float]:
    """Of each layer that uses BN, running to present second moment."""
    ratios: list[float] = []
    for layer in probe.modules():
        if isinstance(layer, SwitchableNorm) and _uses_bn(layer):
            layer.register_forward_pre_hook(_ratio_recorder(ratios), with_kwargs=True)
    if not any(layer._forward_pre_hooks for layer in probe.modules()):
        return ratios
    with torch.no_grad(), contextlib.suppress(_EnoughError):
        _use_batch_statistics(probe)
        probe(*clone_tensors(example_inputs))
    return ratios


def _uses_bn(layer: SwitchableNorm) -> bool:
    if not layer.using_bn:
        return False
    entry, solved = layer.normalizers.index(Normalizer.BN), layer.solved_gates()
    return any(gate.ratios[entry] != 0 for gate in (solved.mean, solved.var))


def _use_batch_statistics(probe: nn.Module) -> None:
    """Training mode for the switchable layers only; 1x1 maps keep what they have."""
    for layer in probe.modules():
        if isinstance(layer, SwitchableNorm):
            layer.correction, layer.batch_groups, layer.reduction = 0, 1, None
            layer.train()


def _ratio_recorder(ratios: list[float]) -> Callable[..., None]:
    def hook(layer: nn.Module, inputs: tuple[Tensor, ...], named: dict[str, Tensor]) -> None:
        assert isinstance(layer, SwitchableNorm)  # registered on these only
        if layer.running_var is None:
            return
        x = inputs[0] if inputs else named["input"]
        x = x.unsqueeze(-1) if x.dim() == 2 else x
        mean, var = pooled_moments(*instance_moments(x), dim=0)
        size = (var + mean.square()).flatten().double()
        known = size > 0
        if bool(known.any()):
            # A layer updates its running values after this hook, so these are still the file's.
            ratios.append(float((layer.running_var.double()[known] / size[known]).median()))
        if len(ratios) == ENOUGH_LAYERS:
            raise _EnoughError

    return hook
