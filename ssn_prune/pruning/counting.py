"""Counts of parameters and operators, before and after pruning."""

from __future__ import annotations

from collections import Counter

import torch
from torch import nn

from ssn_prune.nn.axes import channel_weight
from ssn_prune.nn.switchable import SwitchableNorm
from ssn_prune.normalizer import Normalizer
from ssn_prune.pruning.capture.records import Capture
from ssn_prune.pruning.capture.suppress_output import suppress_tracer_output
from ssn_prune.pruning.forms import moments


def count_parameters(model: nn.Module) -> int:
    """Number of elements of all parameters; shared parameters count once."""
    return sum(parameter.numel() for parameter in model.parameters())


def count_operators(program: torch.export.ExportedProgram) -> dict[str, int]:
    """Calls of each ATen operator in a captured program, by name."""
    return dict(
        Counter(
            node.target.__name__.split(".")[0]
            for node in program.graph.nodes
            if node.op == "call_function"
        )
    )


def operators_before(original: nn.Module, captured: Capture) -> dict[str, int] | None:
    """Operators of the original: those around its switchable layers plus those inside each call.

    Each layer is counted with constant gates and with all the statistics that it offers computed,
    which is the least that a network with soft gates needs.
    """
    if captured.error is not None:
        return None
    total = Counter(captured.operators)
    inside: dict[tuple[object, ...], dict[str, int]] = {}
    for name, calls in captured.calls.items():
        layer = original.get_submodule(name)
        assert isinstance(layer, SwitchableNorm)  # captures name switchable layers only
        for call in calls:
            # The corrected variance of a single position is 0/0, so the layer cannot be using it.
            vectors = call.axes == 2 and Normalizer.IN in layer.normalizers
            correction = 0 if vectors else layer.correction
            alike = (call.axes, layer.normalizers, correction, layer.affine)
            if alike not in inside:
                weighted = weighted_form(layer, correction).eval()
                sizes = (2, layer.num_features, *[2] * (call.axes - 2))
                x = channel_weight(layer).new_zeros(sizes)
                with suppress_tracer_output():
                    program = torch.export.export(weighted, (x,))
                inside[alike] = count_operators(program)
            for operator, count in inside[alike].items():
                total[operator] += count
    return dict(total)


def weighted_form(layer: SwitchableNorm, correction: int | None = None) -> nn.Module:
    """The layer as a fixed mixture of all its normalizers, for counting.

    Args:
        layer: Not changed.
        correction: The kind of variance; by default the layer's.
    """
    count = len(layer.normalizers)
    ratios = tuple(1 / count if n in layer.normalizers else 0.0 for n in Normalizer)
    weight = channel_weight(layer)
    running = (layer.running_mean, layer.running_var, layer.num_batches_tracked)
    if any(tensor is None for tensor in running):  # batch statistics take as many operators
        running = (torch.zeros_like(weight), torch.ones_like(weight), torch.tensor(0))
    make: type[nn.Module] = moments.CLASSES[max(layer.dims) - 3]
    weighted = make(
        layer.num_features,
        weight if layer.affine else None,
        None if layer.bias is None else layer.bias.detach(),
        running,
        eps=layer.eps,
        momentum=layer.momentum,
        correction=layer.correction if correction is None else correction,
        mean_ratios=ratios,
        var_ratios=ratios,
    )
    return weighted.to(weight)
