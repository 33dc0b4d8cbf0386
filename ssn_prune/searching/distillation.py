"""A short distillation: train the weights of a network on the original's outputs.

The original gives the targets, so no labels are needed and any input will do: images are shifted
and scaled at random, all images of a sample alike. All weights learn, not only those of the
normalizers: a step takes about as long. Gates, running statistics and other buffers stay as they
are.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from ssn_prune.images.image_set import TargetKind
from ssn_prune.searching.batches import Batches
from ssn_prune.searching.divergence import divergence_terms, floating_outputs
from ssn_prune.searching.moving import moved
from ssn_prune.searching.selections import switchable_layers
from ssn_prune.searching.time_left import TimeLeft

LEARNING_RATE = 1e-3
IMAGES_PER_STEP = 16
_SHIFT, _SCALE = 0.1, 0.15


@torch.enable_grad()
def distil(
    original: nn.Module,
    student: nn.Module,
    training: Batches,
    steps: int,
    seed: int,
    progress: TimeLeft,
) -> None:
    """Train the weights of a network, in place.

    Args:
        original: The network that gives the targets; not changed.
        student: A network in evaluation mode, whose statistics stay as they are.
        training: Images of one size.
        steps: Number of Adam steps.
        seed: Seed for the order, shifts and scales of the images.
        progress: Called after each step.
    """
    buffers = {name: buffer.clone() for name, buffer in student.named_buffers()}
    needed = [(p, p.requires_grad) for p in student.parameters()]
    for parameter, _ in needed:
        parameter.requires_grad_(False)
    trained = _weights(student)
    for parameter in trained:
        parameter.requires_grad_(True)
    optimizer = torch.optim.Adam(trained, LEARNING_RATE)
    generator = torch.Generator().manual_seed(seed)
    places = [index for part in training.indices for index in part]
    classes = training.images.kind is not TargetKind.NONE
    for step in range(steps):
        optimizer.param_groups[0]["lr"] = LEARNING_RATE * (1 - step / steps)
        drawn = torch.randperm(len(places), generator=generator)[:IMAGES_PER_STEP].tolist()
        found = training.images.inputs([places[index] for index in drawn])
        shown = moved(found, _SHIFT, _SCALE, generator)
        inputs = tuple(tensor.to(training.device) for tensor in shown)
        with torch.no_grad():
            targets = floating_outputs(original(*inputs))
        outputs = floating_outputs(student(*inputs))
        loss = _loss(outputs, targets, classes=classes)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        progress()
    for parameter, wanted in needed:
        parameter.requires_grad_(wanted)
    with torch.no_grad():
        for name, buffer in buffers.items():  # the network's code may write into them
            student.get_buffer(name).copy_(buffer)


def _weights(network: nn.Module) -> list[nn.Parameter]:
    """All floating-point parameters but the gates."""
    layers = switchable_layers(network).values()
    gates = {id(gate) for layer in layers for gate in (layer.mean_weight, layer.var_weight)}
    return [p for p in network.parameters() if id(p) not in gates and p.is_floating_point()]


def _loss(outputs: tuple[Tensor, ...], targets: tuple[Tensor, ...], *, classes: bool) -> Tensor:
    """The harm of a batch, but with root mean squares in place of mean magnitudes."""
    parts = []
    if classes:
        given, expected = outputs[0].log_softmax(1), targets[0].log_softmax(1)
        positions = expected.numel() // expected.shape[1]
        parts = [divergence_terms(given, expected).sum() / positions]
        outputs, targets = outputs[1:], targets[1:]
    parts += [
        (given - expected).square().mean() / expected.square().mean().clamp(min=1e-12)
        for given, expected in zip(outputs, targets, strict=True)
        if expected.numel()
    ]
    return torch.stack(parts).sum()
