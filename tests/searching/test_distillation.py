"""Distillation: what learns, what stays, and that it helps."""

from __future__ import annotations

import copy

import pytest
import torch
from noise_images import CLASSES, Noise
from torch import Tensor, nn

from ssn_prune import Normalizer, NormalizerPair, SSN2d
from ssn_prune.images.image_set import TargetKind
from ssn_prune.progress import no_progress
from ssn_prune.searching.batches import Batches
from ssn_prune.searching.distillation import distil
from ssn_prune.searching.selections import changed_network
from ssn_prune.searching.time_left import TimeLeft

IN, _, BN = Normalizer
STEPS = 60


def network() -> nn.Sequential:
    torch.manual_seed(0)
    norm = SSN2d(6)
    norm.fix(IN, IN)
    norm.weight.requires_grad_(False)
    convolution = nn.Conv2d(3, 6, 3, padding=1, bias=False)
    layers = (convolution, norm, nn.ReLU(), nn.Flatten(), nn.Linear(6 * 64, CLASSES))
    return nn.Sequential(*layers).eval()


def state(model: nn.Module) -> dict[str, Tensor]:
    return {name: value.clone() for name, value in model.state_dict().items()}


@pytest.mark.parametrize("kind", [TargetKind.CLASSES, TargetKind.NONE])
def test_weights_learn_and_nothing_else_changes(kind: TargetKind) -> None:
    original, images = network(), Noise(48, kind)
    student = changed_network(original, (("1", NormalizerPair(BN, BN)),), {})
    before, untouched = state(student), state(original)
    needed = [p.requires_grad for p in student.parameters()]
    batches = Batches(images, (tuple(range(48)),), torch.device("cpu"))

    def distance() -> float:
        with torch.no_grad():
            a, b = original(images.pictures), student(images.pictures)
        if kind is TargetKind.NONE:
            return float((a - b).square().mean())
        return float((a.softmax(1) * (a.log_softmax(1) - b.log_softmax(1))).sum(1).mean())

    first = distance()
    distil(original, student, batches, STEPS, 0, TimeLeft(no_progress, "", STEPS))
    assert distance() < first / 2
    after = student.state_dict()
    learned = {name for name in after if not torch.equal(after[name], before[name])}
    assert learned == {"0.weight", "1.weight", "1.bias", "4.weight", "4.bias"}
    assert [p.requires_grad for p in student.parameters()] == needed
    torch.testing.assert_close(original.state_dict(), untouched, rtol=0, atol=0)


class TwoHeads(nn.Module):
    """Classes and a map; the second head has its own weights."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = network()[:3]
        self.classes, self.depth = nn.Linear(6, CLASSES), nn.Conv2d(6, 1, 1)

    def forward(self, x: Tensor) -> dict[str, Tensor]:
        x = self.stem(x)
        place = torch.zeros(len(x)).long()  # not a floating-point output, and the first
        return {"place": place, "classes": self.classes(x.mean((2, 3))), "depth": self.depth(x)}


def test_all_outputs_learn_where_there_are_labels() -> None:
    torch.manual_seed(0)
    original, images = TwoHeads().eval(), Noise(48)
    student = copy.deepcopy(original)
    with torch.no_grad():
        student.depth.weight.mul_(0.5)
    batches = Batches(images, (tuple(range(48)),), torch.device("cpu"))

    def distance() -> float:
        with torch.no_grad():
            one, other = (m(images.pictures)["depth"] for m in (original, student))
        return float((one - other).square().mean())

    first = distance()
    distil(original, student, batches, STEPS, 0, TimeLeft(no_progress, "", STEPS))
    assert distance() < first / 2


def test_the_same_seed_gives_the_same_weights() -> None:
    original, images = network(), Noise(48)
    batches = Batches(images, (tuple(range(48)),), torch.device("cpu"))
    students = [changed_network(original, (("1", NormalizerPair(BN, BN)),), {}) for _ in range(3)]
    for student, seed in zip(students, (0, 0, 1), strict=True):
        distil(original, student, batches, 3, seed, TimeLeft(no_progress, "", 3))
    one, again, other = (student.state_dict() for student in students)
    torch.testing.assert_close(one, again, rtol=0, atol=0)
    assert not torch.equal(one["0.weight"], other["0.weight"])
