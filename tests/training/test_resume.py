"""A training that was interrupted is the training that was not, bit for bit."""

import io

import pytest
import torch
from residual import optimizer_of, residual, train_step

from ssn_prune import SSN2d
from ssn_prune.surgery.freeze import freeze_selected
from ssn_prune.training.history import GateHistory
from ssn_prune.training.radius import RadiusSchedule

STEPS = 12


class Training:
    """Everything that a training script keeps."""

    def __init__(self, seed=0, end=None, optimizer_class=None, **options):
        self.model = residual(seed, soft=True, **options)
        self.optimizer = (
            optimizer_of(self.model)
            if optimizer_class is None
            else optimizer_class(self.model.parameters(), lr=0.02)
        )
        self.history = GateHistory(self.model)
        self.schedule = RadiusSchedule(self.model, 8, end=end, history=self.history)
        self.outputs = []

    def run(self, start, stop):
        for step in range(start, stop):
            self.outputs.append(train_step(self.model, self.optimizer, step))
            self.schedule.step()
        return self

    def save(self, file):
        content = {
            "model": self.model.state_dict(),
            "optimizer": self.optimizer.state_dict(),
            "schedule": self.schedule.state_dict(),
            "random": torch.get_rng_state(),
        }
        torch.save(content, file)
        self.history.records().save(self.path)

    def load(self, file):
        content = torch.load(file, weights_only=True)
        self.model.load_state_dict(content["model"])
        self.optimizer.load_state_dict(content["optimizer"])
        self.schedule.load_state_dict(content["schedule"])
        torch.set_rng_state(content["random"])
        return self


def same(a, b):
    """Equal tensors, bit for bit, in state dicts of any nesting."""
    if isinstance(a, torch.Tensor):
        return torch.equal(a, b)
    if isinstance(a, dict):
        return list(a) == list(b) and all(same(a[key], b[key]) for key in a)
    if isinstance(a, list | tuple):
        return len(a) == len(b) and all(map(same, a, b))
    return a == b


@pytest.fixture(autouse=True)
def own_random_state():
    with torch.random.fork_rng():
        torch.manual_seed(7)
        yield


@pytest.mark.parametrize("cut", [5, 8, STEPS - 1])
@pytest.mark.parametrize("kind", ["schedule", "reference", "corrected", "adam"])
def test_a_resumed_training_is_the_uninterrupted_one(tmp_path, cut, kind):
    options = {
        "schedule": {},
        "reference": {"end": 1.0},
        "corrected": {"correction": 1},
        "adam": {"optimizer_class": torch.optim.AdamW},
    }[kind]
    whole = Training(**options).run(0, STEPS)

    torch.manual_seed(7)
    first, file = Training(**options), io.BytesIO()
    first.path = tmp_path / "history.npz"
    first.run(0, cut).save(file)
    file.seek(0)
    torch.manual_seed(99)
    second = Training(seed=1, **options).load(file)
    second.history.load_records(second.history.records().load(first.path))
    second.run(cut, STEPS)

    for a, b in zip(whole.outputs[cut:], second.outputs, strict=True):
        assert torch.equal(a, b)
    # The state dict comes first: it puts back weights of frozen gates that momentum has pushed.
    assert same(whole.model.state_dict(), second.model.state_dict())
    assert same(whole.schedule.state_dict(), second.schedule.state_dict())
    assert same(whole.optimizer.state_dict(), second.optimizer.state_dict())
    assert (whole.history.records().ratios == second.history.records().ratios).all()
    frozen = [m for m in whole.model.modules() if isinstance(m, SSN2d) and m.mean_fixed]
    assert len(frozen) == 4


def test_momentum_does_push_stored_weights_of_frozen_gates():
    """Otherwise the test above would not say anything about it."""
    training = Training().run(0, STEPS)
    pushed = [
        gate
        for layer in training.model.modules()
        if isinstance(layer, SSN2d)
        for gate in (layer.mean_weight, layer.var_weight)
        if sorted(gate.tolist())[-1] != 1
    ]
    assert pushed
    training.model.state_dict()
    assert all(sorted(gate.tolist())[-1] == 1 for gate in pushed)


@pytest.mark.parametrize("missing", ["model", "optimizer", "schedule", "random"])
def test_resuming_needs_every_part_of_the_state(missing):
    whole = Training().run(0, 9)
    torch.manual_seed(7)
    first, file = Training().run(0, 5), {}
    file["model"], file["optimizer"] = first.model.state_dict(), first.optimizer.state_dict()
    file["schedule"], file["random"] = first.schedule.state_dict(), torch.get_rng_state()
    torch.manual_seed(99)
    second = Training(seed=1)
    for part, value in file.items():
        if part == missing:
            continue
        if part == "random":
            torch.set_rng_state(value)
        else:
            getattr(second, part).load_state_dict(value)
    second.run(5, 9)
    assert not same(whole.model.state_dict(), second.model.state_dict())


def test_a_training_with_swapped_layers_is_resumed_with_swapped_layers():
    def start(seed):
        model = residual(seed)
        calls = []
        schedule = RadiusSchedule(
            model, 4, on_frozen=lambda given: calls.append(freeze_selected(given))
        )
        return model, optimizer_of(model), schedule, calls

    def run(model, optimizer, schedule, steps):
        for step in steps:
            train_step(model, optimizer, step)
            schedule.step()

    model, optimizer, schedule, frozen = start(0)
    run(model, optimizer, schedule, range(6))
    saved = frozen[0].switchable_state_dict(), optimizer.state_dict(), schedule.state_dict()
    random = torch.get_rng_state()
    saved = torch.load(file_of(saved), weights_only=True)
    run(model, optimizer, schedule, range(6, 9))

    resumed, its_optimizer, its_schedule, calls = start(1)
    resumed.load_state_dict(saved[0])
    its_optimizer.load_state_dict(saved[1])
    its_schedule.load_state_dict(saved[2])
    torch.set_rng_state(random)
    again = freeze_selected(resumed)
    run(resumed, its_optimizer, its_schedule, range(6, 9))
    assert same(model.state_dict(), resumed.state_dict())
    assert same(frozen[0].switchable_state_dict(), again.switchable_state_dict())
    assert (len(frozen), len(calls)) == (1, 0)


def file_of(content):
    file = io.BytesIO()
    torch.save(content, file)
    file.seek(0)
    return file
