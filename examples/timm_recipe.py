"""Training with timm's own parts: an optimizer by name, a warm-up schedule, averaged weights.

    pip install timm
    python examples/timm_recipe.py

Three things differ from training a BatchNorm network, and each is a line here: the norms are
swapped, the optimizer gets parameter groups (timm then adds no weight decay of its own to the
gates), and the radius grows with every step. The data are random: replace ``batches`` by yours.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import timm
import torch
from timm.optim import create_optimizer_v2
from timm.scheduler import CosineLRScheduler
from timm.utils import ModelEmaV3
from torch import Tensor, nn

from ssn_prune import RadiusSchedule, clip_gate_gradients, convert_to_ssn, param_groups

ARCHITECTURE, CLASSES, STEPS = "test_resnet", 4, 12


def batches(count: int) -> Iterator[tuple[Tensor, Tensor]]:
    """Images (4, 3, 64, 64) and labels (4,)."""
    for _ in range(count):
        yield torch.randn(4, 3, 64, 64), torch.randint(CLASSES, (4,))


def optimizer_of(model: nn.Module) -> torch.optim.Optimizer:
    """One of timm's: it takes groups in place of a network."""
    groups = param_groups(model, lr=0.02, weight_decay=1e-4)
    return create_optimizer_v2(groups, opt="sgd", lr=0.02, momentum=0.9)


def train(model: nn.Module) -> ModelEmaV3:
    """Train in place, and return the network with averaged weights."""
    optimizer = optimizer_of(model)
    # This scheduler keeps the ratio of the groups' learning rates.
    rates = CosineLRScheduler(optimizer, t_initial=STEPS, warmup_t=2, t_in_epochs=False)
    # Gates that froze late are not one-hot in an average yet: the radius ends early.
    radius = RadiusSchedule(model, total_steps=STEPS // 2)
    average = ModelEmaV3(model, decay=0.5)
    for step, (images, labels) in enumerate(batches(STEPS), start=1):
        loss = nn.functional.cross_entropy(model(images), labels)
        optimizer.zero_grad()
        loss.backward()
        clip_gate_gradients(model)
        optimizer.step()
        rates.step_update(step)
        radius.step()
        average.update(model)
    return average


def main(path: Path = Path("checkpoint.pth")) -> None:
    """Train, and write a checkpoint that ``ssn-prune convert`` reads without options."""
    torch.manual_seed(0)
    network = timm.create_model(ARCHITECTURE, num_classes=CLASSES)
    model = convert_to_ssn(network, keep_choice=0.8).model
    train(model)
    torch.save({"arch": f"timm:{ARCHITECTURE}", "state_dict": model.state_dict()}, path)
    print(f"ssn-prune convert {path} -o model.onnx --input-size 64")


if __name__ == "__main__":
    main()
