"""Population statistics of BN, measured over a loader in place of moving averages.

SN's paper (arXiv 1806.10779, section 3.2) calls this batch average: the network and all its gates
are frozen, some batches are run, and the means and variances of all of them are averaged.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import chain, islice
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm, _NormBase

from ssn_prune.errors import ArgumentError
from ssn_prune.nn.plane_norm import PlaneNorm
from ssn_prune.surgery.from_reference import adopt_layers, foreign_layers

_BUFFERS = ("running_mean", "running_var", "num_batches_tracked")


@torch.no_grad()
def recalibrate(
    model: nn.Module,
    batches: Iterable[Any],
    *,
    steps: int | None = None,
    device: torch.device | str | None = None,
    forward: Callable[[nn.Module, Any], object] | None = None,
) -> int:
    """Replace the running statistics of every BN by averages over ``batches``, in place.

    Layers with BN among their normalizers and torch's own BatchNorm layers run in training mode,
    everything else (such as dropout) in evaluation mode. Nothing else of the model changes, and all
    modes and momenta are as before when it returns or fails. Layers without running statistics get
    them; layers that no batch reaches in evaluation mode, like auxiliary heads, keep theirs.

    Args:
        model: A network whose statistics are missing, outdated, or sums that were never divided. It
            may have switchable layers of another implementation that :func:`ssn_prune.prune` takes
            over; the measured values are written to their buffers.
        batches: For example a DataLoader of training data. If a batch is a tuple or list, its first
            element is the input.
        steps: The largest number of batches to use; no more are taken from an iterator.
        device: Where the inputs go first; None leaves them where they are.
        forward: Called as ``forward(model, batch)`` instead of the model, for batches of another
            structure.

    Returns:
        The number of batches that were averaged.

    Raises:
        ArgumentError: There was no batch, or no layer with BN.
        UnsupportedLayerError: A layer of another implementation does not compute what ours does.
    """
    foreign = foreign_layers(model)
    if foreign:
        adopted = adopt_layers(model)
        count = recalibrate(adopted, batches, steps=steps, device=device, forward=forward)
        for name in foreign:
            _write_back(adopted.get_submodule(name), model.get_submodule(name))
        return count
    layers = [module for module in model.modules() if _has_batch_statistics(module)]
    if not layers:
        raise ArgumentError(
            f"{type(model).__name__} has no layer whose BN statistics could be measured",
            expected="switchable layers that offer BN, or BatchNorm layers",
            found="none",
        )
    count = 0
    with _measuring(model, layers):
        for batch in islice(batches, steps):
            if forward is not None:
                forward(model, batch)
            else:
                model(_input_of(batch, device))
            count += 1
        if count == 0:
            raise ArgumentError(
                "there was no batch to measure BN statistics on",
                expected="a loader with at least one batch",
                found="an empty one, or steps=0",
                hint="an iterator that was used up has none left: give a fresh one",
            )
    return count


def _write_back(measured: nn.Module, foreign: nn.Module) -> None:
    for name in ("running_mean", "running_var"):
        value, buffer = getattr(measured, name), getattr(foreign, name, None)
        if value is not None and isinstance(buffer, Tensor):
            buffer.copy_(value.reshape(buffer.shape))


def _has_batch_statistics(module: nn.Module) -> bool:
    return isinstance(module, _BatchNorm) or (isinstance(module, PlaneNorm) and module.using_bn)


@dataclass(frozen=True)
class _Before:
    """What a layer was before the measurement."""

    layer: _NormBase
    momentum: float | None
    tracked: bool
    buffers: dict[str, Tensor | None]

    def restore(self) -> None:
        self.layer._buffers.update(self.buffers)
        self.layer.track_running_stats = self.tracked

    def finish(self) -> None:
        """Write what was measured into the old tensors, to which others (DDP) may hold references.

        A layer that was not reached gets its old statistics back.
        """
        measured = {name: self.layer._buffers[name] for name in _BUFFERS}
        count = measured["num_batches_tracked"]
        if count is None or not count.item():
            self.restore()
            return
        for name, old in self.buffers.items():
            new = measured[name]
            if old is not None and new is not None:
                self.layer._buffers[name] = old.copy_(new)


@contextmanager
def _measuring(model: nn.Module, layers: list[nn.Module]) -> Iterator[None]:
    modes = [(module, module.training) for module in model.modules()]
    saved: list[_Before] = []
    try:
        model.eval()
        for layer in layers:
            assert isinstance(layer, _NormBase)  # both kinds are
            buffers = {name: layer._buffers[name] for name in _BUFFERS}
            saved.append(_Before(layer, layer.momentum, layer.track_running_stats, buffers))
            layer.training = True  # not train(): timm's layers have a dropout inside them
            layer.momentum = None  # torch's convention for the plain average over all batches
            layer.track_running_stats = True
            like = _like(model, layer)
            zeros = torch.zeros(layer.num_features, device=like.device, dtype=like.dtype)
            layer.running_mean, layer.running_var = zeros, torch.ones_like(zeros)
            layer.num_batches_tracked = torch.zeros((), dtype=torch.int64, device=like.device)
        yield
        for before in saved:
            before.finish()
    except BaseException:
        for before in saved:
            before.restore()
        raise
    finally:
        for before in saved:
            before.layer.momentum = before.momentum
        for module, training in modes:
            module.training = training


def _like(model: nn.Module, layer: _NormBase) -> Tensor:
    """A tensor of the device and dtype that the layer's statistics have or should have."""
    if layer.running_mean is not None:
        return layer.running_mean
    return next(chain(layer.parameters(), model.parameters()), torch.empty(()))


def _input_of(batch: Any, device: torch.device | str | None) -> Any:
    first = batch[0] if isinstance(batch, tuple | list) else batch
    return first.to(device) if device is not None and isinstance(first, Tensor) else first
