r"""Recognise running statistics that are sums over training steps.

With the reference implementation's batch-average training, ``running_mean`` and ``running_var``
add up over the steps and are never divided. The file does not say so, nor does a flag of the layer
(the sums may have been divided by hand), but the numbers do: after T steps the second moment
:math:`\mathrm{var} + \mathrm{mean}^2` is T to T\ :sup:`2` times too large.

How large should it be? One forward pass with batch statistics on noise shows that for a layer
after another norm: its input has the scale that the norm gives it, whatever the network is given.
Two passes on noise of different scales tell these layers from those whose input grows with the
network's, which may be scaled inside (``x / 255``). In a network without any layer of the first
kind only the statistics themselves can tell: the mean in units of the standard deviation grows with
:math:`\sqrt T`.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils import _pytree as pytree

from ssn_prune.errors import UnsupportedLayerError
from ssn_prune.nn.statistics import instance_moments, pooled_moments
from ssn_prune.nn.switchable import SwitchableNorm
from ssn_prune.normalizer import Normalizer
from ssn_prune.surgery._shared_parameters import run_copy

ENOUGH_LAYERS = 16
"""A run ends after this number of layers: sums are sums in every layer."""
# Trained averages differ from noise by a factor of 10 or so, sums of any real training by 1e4 or
# more.
SUSPICIOUS_RATIO = 100.0
# For a network that may expect inputs unlike noise: a scale of 255 is 65,025 when squared.
SUSPICIOUS_AT_INPUT = 1000.0
SUSPICIOUS_MEAN = 30.0
"""Squared mean in units of the variance; the median channel is compared."""
LARGE_NOISE = (2.0**8, 2.0**16)


class _EnoughError(Exception):
    """Ends a run."""


@dataclass(frozen=True)
class _Measured:
    """What was measured at one layer, each the median over its channels.

    Attributes:
        size: The second moment of its input.
        ratio: The running second moment in units of ``size``.
        mean: The squared running mean in units of the running variance.
    """

    size: float
    ratio: float
    mean: float


def require_averages(model: nn.Module, example_inputs: tuple[Any, ...]) -> None:
    """Refuse a network whose running statistics are sums.

    Only layers with a gate that uses BN count. A network without any passes, and so does one that
    refuses noise.

    Args:
        model: The loaded network; not changed.
        example_inputs: One call's inputs; noise of the same shapes replaces floating tensors.

    Raises:
        UnsupportedLayerError: The statistics are sums.
    """
    seen = _measured(model, example_inputs, 1.0)
    if not any(layer.ratio > SUSPICIOUS_RATIO for layer in seen.values()):
        return
    small, large = (_measured(model, example_inputs, factor) for factor in LARGE_NOISE)
    independent = [
        small[name].ratio
        for name in small.keys() & large.keys()
        if 0.5 < large[name].size / small[name].size < 2
    ]
    if independent:
        sums = _median(independent) > SUSPICIOUS_RATIO
    else:
        sums = (
            _median([layer.ratio for layer in seen.values()]) > SUSPICIOUS_AT_INPUT
            and _median([layer.mean for layer in seen.values()]) > SUSPICIOUS_MEAN
        )
    if sums:
        raise _running_sums_error()


def _measured(model: nn.Module, inputs: tuple[Any, ...], factor: float) -> dict[str, _Measured]:
    """Each layer that uses BN, by name, on noise of a given scale."""
    noise = _noise_like(inputs, factor)
    try:
        return run_copy(model, lambda probe: _run(probe, noise))
    # This is somebody else's code, which may not take noise; then nothing is known.
    except Exception:  # noqa: BLE001
        return {}


def _noise_like(inputs: tuple[Any, ...], factor: float) -> tuple[Any, ...]:
    generator = torch.Generator().manual_seed(0)

    def noise(leaf: Any) -> Any:
        if not isinstance(leaf, Tensor):
            return leaf
        if not leaf.is_floating_point():
            return leaf.clone()
        values = torch.randn(leaf.shape, generator=generator) * factor
        return values.to(leaf)

    replaced: tuple[Any, ...] = pytree.tree_map(noise, inputs)
    return replaced


def _run(probe: nn.Module, inputs: tuple[Any, ...]) -> dict[str, _Measured]:
    found: dict[str, _Measured] = {}
    users = [
        (name, layer)
        for name, layer in probe.named_modules()
        if isinstance(layer, SwitchableNorm) and _uses_bn(layer)
    ]
    for name, layer in users:
        layer.register_forward_pre_hook(_recorder(name, found, len(users)), with_kwargs=True)
    if users:
        with torch.no_grad(), contextlib.suppress(_EnoughError):
            _use_batch_statistics(probe)
            probe(*inputs)
    return found


def _uses_bn(layer: SwitchableNorm) -> bool:
    if not layer.using_bn or layer.running_var is None:
        return False
    entry, solved = layer.normalizers.index(Normalizer.BN), layer.solved_gates()
    return any(gate.ratios[entry] != 0 for gate in (solved.mean, solved.var))


def _use_batch_statistics(probe: nn.Module) -> None:
    """Training mode for the switchable layers only."""
    for layer in probe.modules():
        if isinstance(layer, SwitchableNorm):
            layer.correction, layer.batch_groups, layer.reduction = 0, 1, None
            layer.warned_of_one_position = True  # no warning, since this is not training
            layer.train()


def _recorder(name: str, found: dict[str, _Measured], users: int) -> Callable[..., None]:
    def hook(layer: nn.Module, inputs: tuple[Tensor, ...], named: dict[str, Tensor]) -> None:
        assert isinstance(layer, SwitchableNorm)  # registered on these only
        assert layer.running_var is not None
        assert layer.running_mean is not None
        x = inputs[0] if inputs else named["input"]
        x = x.unsqueeze(-1) if x.dim() == 2 else x
        mean, var = pooled_moments(*instance_moments(x.double()), dim=0)
        size = (var + mean.square()).flatten()
        # A layer updates its running values after this hook, so these are still the file's.
        running_mean, running_var = layer.running_mean.double(), layer.running_var.double()
        known = (size > 0) & torch.isfinite(size)
        if name not in found and bool(known.any()):
            ratio = (running_var + running_mean.square())[known] / size[known]
            relative = running_mean[known].square() / running_var[known].clamp_min(1e-300)
            found[name] = _Measured(*(float(v.median()) for v in (size[known], ratio, relative)))
        if len(found) >= min(ENOUGH_LAYERS, users):
            raise _EnoughError

    return hook


def _median(values: list[float]) -> float:
    return float(torch.tensor(values, dtype=torch.float64).median())


def _running_sums_error() -> UnsupportedLayerError:
    """The error for batch-average training, whose running statistics are undivided sums."""
    return UnsupportedLayerError(
        "running_mean and running_var are sums over training steps, not averages",
        expected="averages over training steps, as moving averages are (the reference "
        "implementation's using_moving_average=True)",
        found="statistics far above what the layers get, as sums that were never divided are",
        hint="measure them on training data: ssn_prune.recalibrate(model, batches) with a few "
        "hundred batches, save, and convert that file; if they are averages after all, pass "
        "`trust_running_statistics=True`",
    )
