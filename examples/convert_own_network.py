"""From a network of your own to a verified ONNX file, in Python.

    python examples/convert_own_network.py

Nothing is trained: the gates are set by hand to values that a training could end with.
"""

from __future__ import annotations

import tempfile
from pathlib import Path

import torch
from torch import nn

from ssn_prune import convert_to_ssn, export_onnx, prune, random_batches, set_radius, verify


def network() -> nn.Module:
    """Any network with BatchNorm2d."""
    return nn.Sequential(
        nn.Conv2d(3, 16, 3, padding=1, bias=False),
        nn.BatchNorm2d(16),
        nn.ReLU(),
        nn.Conv2d(16, 32, 3, stride=2, padding=1, bias=False),
        nn.BatchNorm2d(32),
        nn.ReLU(),
        nn.AdaptiveAvgPool2d(1),
        nn.Flatten(),
        nn.Linear(32, 10),
    )


def main() -> None:
    """Swap, pretend to train, prune, export, verify."""
    torch.manual_seed(0)
    model = convert_to_ssn(network()).model
    with torch.no_grad():  # IN mean with BN variance, then BN for both
        model[1].mean_weight.copy_(torch.tensor([1.0, 0.2, 0.4]))
        model[1].var_weight.copy_(torch.tensor([0.1, 0.2, 0.9]))
        model[4].mean_weight.copy_(torch.tensor([0.1, 0.2, 0.9]))
        model[4].var_weight.copy_(torch.tensor([0.1, 0.2, 0.9]))
    set_radius(model, 0.8165)  # the end of the schedule: every gate becomes one-hot

    batches = random_batches([(3, 32, 32)], (1, 2, 3))
    pruned = prune(model, batches[1])
    for layer in pruned.report.layers:
        outcome = f"{layer.fold_title} into {layer.folded_into}" if layer.fold else layer.reason
        print(f"{layer.name}: {layer.mean.choice}/{layer.var.choice} -> {layer.form} ({outcome})")
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "model.onnx"
        stats = export_onnx(pruned.model, batches[1], path)
        report = verify(pruned, path, batches)
    print(f"{stats.nodes} nodes: {stats.operators}")
    print(f"verified: {report.passed}")


if __name__ == "__main__":
    main()
