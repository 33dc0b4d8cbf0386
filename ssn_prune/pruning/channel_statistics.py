"""Statistics of layer inputs: mean and deviation of each channel on the example inputs."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from ssn_prune.nn.statistics import pooled_moments
from ssn_prune.surgery._shared_parameters import run_copy
from ssn_prune.surgery.nested import clone_tensors


@dataclass(frozen=True)
class ChannelStatistics:
    """Statistics of the input of one call of a layer, in float64.

    Attributes:
        mean: Mean of each channel over all samples, (C,).
        deviation: Standard deviation of each channel over all samples, (C,).
        plane_deviation: The smallest standard deviation of any plane of each channel, (C,).
        sample_deviation: The smallest standard deviation of any whole sample, ().
    """

    mean: Tensor
    deviation: Tensor
    plane_deviation: Tensor
    sample_deviation: Tensor


LayerStatistics = Mapping[str, Sequence[ChannelStatistics]]
"""The statistics of each call, keyed by the layer's name."""


def measure_inputs(
    model: nn.Module, inputs: tuple[Any, ...], names: Iterable[str]
) -> LayerStatistics:
    """Run a network and measure the inputs of its layers.

    Args:
        model: The network in evaluation mode; not changed.
        inputs: Inputs of one call.
        names: Layers to measure; those that do not run are absent from the result.
    """
    measured: dict[str, list[ChannelStatistics]] = {}

    def recorder(name: str) -> Any:
        def hook(_module: nn.Module, arguments: tuple[Tensor, ...], named: dict[str, Any]) -> None:
            x = arguments[0] if arguments else named["input"]
            if x.numel():  # a detection model may find no box on noise
                measured.setdefault(name, []).append(statistics_of(x))

        return hook

    def run(probe: nn.Module) -> None:
        measured.clear()
        for name in listed:
            layer = probe.get_submodule(name)
            layer.register_forward_pre_hook(recorder(name), with_kwargs=True)
        with torch.no_grad():
            probe(*clone_tensors(inputs))

    listed = list(names)
    run_copy(model, run)
    return measured


def statistics_of(x: Tensor) -> ChannelStatistics:
    """The statistics of one tensor, (N, C, *)."""
    planes = (x.unsqueeze(-1) if x.dim() == 2 else x).double().flatten(2)
    mean = planes.mean(2, keepdim=True)
    # Several times as fast as var_mean, which matters over all layers.
    var = torch.linalg.vector_norm(planes - mean, dim=2, keepdim=True).square() / planes.shape[2]
    return ChannelStatistics(
        mean=mean.mean(0).flatten(),
        deviation=pooled_moments(mean, var, dim=0)[1].sqrt().flatten(),
        plane_deviation=var.amin(0).sqrt().flatten(),
        sample_deviation=pooled_moments(mean, var, dim=1)[1].sqrt().min(),
    )
