"""Gate histories in lines, and how `inspect --history` shows them."""

import json

import numpy as np
import pytest
import torch
from cli_checks import run_cli

from ssn_prune import GateRecords, SSN2d
from ssn_prune.normalizer import Normalizer
from ssn_prune.training.gate_traces import gate_traces


def records(*ratios, steps=None, layer="layer"):
    """One layer whose mean gate has these ratios and whose variance gate is LN throughout."""
    mean = np.array(ratios, dtype=np.float32).reshape(-1, 3)
    var = np.tile(np.array([0, 1, 0], dtype=np.float32), (len(mean), 1))
    numbers = np.array(range(1, len(mean) + 1) if steps is None else steps, dtype=np.int64)
    return GateRecords((layer,), numbers, np.stack([mean, var], axis=1)[:, None])


def test_letters_follow_the_leader_and_capitals_mean_one_hot():
    mean, var = gate_traces(records((0.5, 0.3, 0.2), (0.4, 0.0, 0.6), (0, 0, 1), (0, 0, 1)))
    assert (mean.layer, mean.gate, mean.line) == ("layer", "mean", "ibBB")
    assert (mean.one_hot_since, mean.choice, mean.changes) == (3, Normalizer.BN, 1)
    assert (var.gate, var.line, var.one_hot_since, var.changes) == ("var", "LLLL", 1, 0)


def test_a_gate_that_turns_soft_again_is_one_hot_later_or_never():
    again = gate_traces(records((1, 0, 0), (0.9, 0.1, 0), (1, 0, 0), steps=(10, 20, 30)))[0]
    assert (again.line, again.one_hot_since) == ("IiI", 30)
    never = gate_traces(records((1, 0, 0), (0.9, 0.1, 0)))[0]
    assert (never.line, never.one_hot_since) == ("Ii", None)


def test_ties_go_to_the_lowest_index():
    assert gate_traces(records((1 / 3, 1 / 3, 1 / 3), (0.2, 0.4, 0.4)))[0].line == "il"


@pytest.mark.parametrize(("count", "width"), [(100, 10), (7, 3), (3, 40), (1, 1)])
def test_a_line_shows_the_end_of_equal_parts(count, width):
    switch = count // 2
    ratios = [(1, 0, 0)] * switch + [(0, 0, 1)] * (count - switch)
    line = gate_traces(records(*ratios), width)[0].line
    assert len(line) == min(count, width)
    assert line[-1] == "B"
    assert line == "".join(sorted(line, reverse=True))  # I before B, nothing in between


def test_an_empty_history_has_empty_lines():
    for trace in gate_traces(records()):
        assert (trace.line, trace.one_hot_since, trace.choice, trace.changes) == ("", None, None, 0)


@pytest.fixture
def files(tmp_path):
    layer = torch.nn.Sequential(SSN2d(4))
    layer[0].fix(Normalizer.BN, Normalizer.LN)
    torch.save({"state_dict": layer.state_dict()}, tmp_path / "model.pth")
    history = records((0.5, 0.3, 0.2), (0, 0, 1), layer="0")
    history.save(tmp_path / "gates.npz")
    return tmp_path


def test_inspect_plots_the_history(files):
    shown = run_cli("inspect", str(files / "model.pth"), "--history", str(files / "gates.npz"))
    assert shown.exit_code == 0
    assert "Gate history" in shown.stdout
    assert "iB" in shown.stdout
    plain = run_cli("inspect", str(files / "model.pth"))
    assert "Gate history" not in plain.stdout


def test_a_history_of_another_network_is_refused(files):
    records((0.5, 0.3, 0.2), layer="other.sn").save(files / "gates.npz")
    for command in ("inspect", "convert"):
        arguments = (str(files / "model.pth"), "--history", str(files / "gates.npz"))
        more = ("--arch", f"{__name__}:network") if command == "convert" else ()
        told = run_cli(command, *arguments, *more)
        assert told.exit_code == 2, told.stderr
        assert "the gate history of another network" in told.stderr


def network():
    model = torch.nn.Sequential(SSN2d(4))
    model.input_size = (4, 6, 6)
    return model


def test_inspect_gives_the_history_as_json(files):
    command = ("inspect", str(files / "model.pth"), "--json", "--history", str(files / "gates.npz"))
    mean, var = json.loads(run_cli(*command).stdout)["history"]
    assert mean == {
        "layer": "0",
        "gate": "mean",
        "line": "iB",
        "one_hot_since": 2,
        "choice": "BN",
        "changes": 1,
        "margins": "19",
        "ratios": "50300000",
    }
    assert (var["line"], var["choice"]) == ("LL", "LN")


def test_a_file_that_is_no_history_is_refused(files):
    shown = run_cli("inspect", str(files / "model.pth"), "--history", str(files / "model.pth"))
    assert shown.exit_code == 1
    assert "not a gate history" in shown.stderr
    assert "Traceback" not in shown.stderr
