"""Train a pruned network further, from its weights alone.

    python examples/train_pruned.py

A small network with SSN layers is pruned and saved. A second part, which could be another program
on another machine, has the code of the network and the file, and trains the network further.
"""

from __future__ import annotations

import tempfile
from pathlib import Path

import torch
from torch import nn

from ssn_prune import SSN2d, load_pruned, prune, save_pruned, set_radius


def network() -> nn.Sequential:
    """A network for images of 8x8 pixels and two classes."""
    return nn.Sequential(
        nn.Conv2d(1, 8, 3, padding=1, bias=False),
        SSN2d(8),
        nn.ReLU(),
        nn.Conv2d(8, 8, 3, padding=1, bias=False),
        SSN2d(8),
        nn.ReLU(),
        nn.AdaptiveAvgPool2d(1),
        nn.Flatten(),
        nn.Linear(8, 2),
    )


def save(path: Path) -> None:
    """Prune a network whose gates are set by hand, as a training could end, and save it."""
    torch.manual_seed(0)
    model = network()
    with torch.no_grad():
        for layer, mean, var in ((model[1], 0, 2), (model[4], 2, 2)):
            layer.mean_weight[mean] += 1
            layer.var_weight[var] += 1
    set_radius(model, 0.8165)
    save_pruned(prune(model.eval(), torch.randn(8, 1, 8, 8)), path)


def train(path: Path, steps: int = 60) -> tuple[float, float]:
    """Load the weights and train: is the left half of the image the brighter one?"""
    torch.manual_seed(1)
    model = load_pruned(path, network)  # in evaluation mode: folded statistics stay as they are
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-2)
    losses = []
    for _ in range(steps):
        images = torch.randn(32, 1, 8, 8)
        labels = (images[..., :4].mean((1, 2, 3)) > images[..., 4:].mean((1, 2, 3))).long()
        images[:, :, :, :4] += labels.view(-1, 1, 1, 1) * 0.5
        loss = nn.functional.cross_entropy(model(images), labels)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    return losses[0], losses[-1]


def main() -> None:
    """Both parts."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "pruned.safetensors"
        save(path)
        first, last = train(path)
    print(f"loss {first:.3f} -> {last:.3f}")


if __name__ == "__main__":
    main()
