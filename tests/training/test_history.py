"""The gate history: what is recorded, and what survives files."""

import numpy as np
import pytest
import torch
from torch import nn

from ssn_prune import SSN1d, SSN2d, SwitchNorm2d
from ssn_prune.errors import CheckpointError, OutputError
from ssn_prune.normalizer import Normalizer
from ssn_prune.training.history import GateHistory, GateRecords
from ssn_prune.training.radius import RadiusSchedule

LAYERS = ("0", "2.a", "2.b", "3", "4")


def network(seed=0):
    model = nn.Sequential(
        SSN2d(3),
        nn.ReLU(),
        nn.ModuleDict({"a": SwitchNorm2d(3), "b": SSN1d(2, normalizers=("IN", "BN"))}),
        SwitchNorm2d(4, normalizers=("LN", "BN"), shared_gate=True),
        SSN2d(3, normalizers=("LN", "IN")).double(),
    )
    scatter(model, seed)
    return model


def scatter(model, seed):
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if name.endswith(("mean_weight", "var_weight")):
                parameter.normal_(generator=generator)


def ratios(model):
    """(L, 2, 3) of the layers' own gates, by name."""
    table = np.zeros((len(LAYERS), 2, 3))
    for index, name in enumerate(LAYERS):
        layer = model.get_submodule(name)
        for row, gate in enumerate(layer.gates()):
            for normalizer, ratio in zip(layer.normalizers, gate.tolist(), strict=True):
                table[index, row, int(normalizer)] = ratio
    return table


def recorded(steps=4, model=None):
    model = network() if model is None else model
    history, wanted = GateHistory(model), []
    schedule = RadiusSchedule(model, steps)
    for step in range(steps):
        scatter(model, step)
        schedule.step()
        wanted.append(ratios(model))
        history.record(step)
    return history, np.stack(wanted)


def test_what_is_recorded_is_what_the_layers_use():
    history, wanted = recorded()
    records = history.records()
    assert records.layers == LAYERS
    assert records.steps.tolist() == [0, 1, 2, 3]
    assert (records.steps.dtype, records.ratios.dtype) == (np.int64, np.float32)
    # The same gates, solved one by one and all together in float32.
    np.testing.assert_allclose(records.ratios, wanted, rtol=0, atol=2.0**-22)
    absent = {"2.b": Normalizer.LN, "3": Normalizer.IN, "4": Normalizer.BN}
    for name, normalizer in absent.items():
        assert not records.ratios[:, LAYERS.index(name), :, normalizer].any()
    assert set(np.unique(records.ratios[-1, [0, 2, 4]])) == {0.0, 1.0}


def test_frozen_gates_are_recorded_as_the_layer_uses_them():
    model = network()
    model[0].fix(Normalizer.LN, Normalizer.BN)
    history = GateHistory(model)
    scatter(model, 5)  # an optimizer pushes the stored weights
    history.record(0)
    assert history.records().ratios[0, 0].tolist() == [[0, 1, 0], [0, 0, 1]]


def test_the_schedule_records_the_steps_that_are_asked_for():
    model = network()
    history = GateHistory(model, every=3)
    schedule = RadiusSchedule(model, 10, history=history)
    for _ in range(10):
        schedule.step()
    assert history.records().steps.tolist() == [3, 6, 9]
    with pytest.raises(ValueError, match="every must be at least 1"):
        GateHistory(model, every=0)


def test_recording_leaves_the_model_alone_and_keeps_no_graph():
    model = network()
    before = [p.detach().clone() for p in model.parameters()]
    history, _ = recorded(1, model=network())
    lone = GateHistory(model)
    lone.record(0)
    lone.record(1)
    scatter(model, 9)  # records do not follow the parameters
    first, second = lone.records().ratios
    assert np.array_equal(first, second)
    assert not any(ratio.requires_grad for ratio in history._ratios)
    scatter(model, 0)
    assert all(torch.equal(p, q) for p, q in zip(model.parameters(), before, strict=True))


@pytest.mark.parametrize("model", [nn.ReLU(), SSN2d(3)])
def test_histories_of_no_layer_and_of_a_layer_that_is_the_network(model, tmp_path):
    history = GateHistory(model)
    count = len(history.records().layers)
    assert history.records().ratios.shape == (0, count, 2, 3)
    history.record(1)
    history.records().save(tmp_path / "history.npz")
    assert GateRecords.load(tmp_path / "history.npz").ratios.shape == (1, count, 2, 3)


def same(a, b):
    return (
        a.layers == b.layers
        and np.array_equal(a.steps, b.steps)
        and np.array_equal(a.ratios, b.ratios)
        and (a.steps.dtype, a.ratios.dtype) == (b.steps.dtype, b.ratios.dtype)
    )


@pytest.mark.parametrize("name", ["history.npz", "history", "Gates of ünï.npz"])
def test_a_file_gives_back_what_was_saved(tmp_path, name):
    records = recorded()[0].records()
    records.save(str(tmp_path / name))
    assert same(GateRecords.load(tmp_path / name), records)
    assert [path.name for path in tmp_path.iterdir()] == [name]


def test_a_training_goes_on_with_its_history(tmp_path):
    model = network()
    history, _ = recorded(model=model)
    history.records().save(tmp_path / "history.npz")
    resumed = GateHistory(model)
    resumed.load_records(GateRecords.load(tmp_path / "history.npz"))
    for recorder in (history, resumed):
        recorder.record(4)
    assert same(resumed.records(), history.records())
    assert resumed.records().steps.tolist() == [0, 1, 2, 3, 4]


def test_the_history_of_another_network_is_refused():
    other = GateHistory(nn.Sequential(SSN2d(3)))
    with pytest.raises(CheckpointError, match="belongs to another network") as caught:
        other.load_records(recorded()[0].records())
    assert "2.a" in caught.value.found
    assert other.records().steps.tolist() == []


@pytest.mark.parametrize("failing", ["savez_compressed", "replace"])
def test_a_failing_write_leaves_the_old_file(tmp_path, monkeypatch, failing):
    path = tmp_path / "history.npz"
    recorded(2)[0].records().save(path)
    before = path.read_bytes()

    def fail(file, *args, **kwargs):
        if hasattr(file, "write"):
            file.write(b"half")
        raise OSError(28, "No space left on device")

    module = "numpy" if failing == "savez_compressed" else "os"
    monkeypatch.setattr(f"{module}.{failing}", fail)
    with pytest.raises(OutputError, match="cannot be written") as caught:
        recorded(3)[0].records().save(path)
    assert "No space left" in caught.value.found
    assert path.read_bytes() == before
    assert [p.name for p in tmp_path.iterdir()] == ["history.npz"]


def test_a_missing_folder_is_a_typed_error(tmp_path):
    with pytest.raises(OutputError, match="cannot be written"):
        recorded(1)[0].records().save(tmp_path / "absent" / "history.npz")


class Writer:
    def __init__(self):
        self.seen = []

    def add_scalar(self, tag, scalar_value, global_step):
        self.seen.append((tag, scalar_value, global_step))


def test_tensorboard_gets_every_ratio_under_its_name():
    records = recorded(2)[0].records()
    writer = Writer()
    records.write_tensorboard(writer)
    assert len(writer.seen) == len(set(writer.seen)) == 2 * len(LAYERS) * 2 * 3
    assert all((type(v), type(s)) == (float, int) for _, v, s in writer.seen)
    seen = {(tag, step): value for tag, value, step in writer.seen}
    assert seen["gates/2.b/var/BN", 1] == records.ratios[1, 2, 1, 2]
    assert seen["gates/0/mean/IN", 0] == records.ratios[0, 0, 0, 0]
