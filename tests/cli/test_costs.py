"""ssn-prune costs: the table, the file, and the probes for another device."""

from __future__ import annotations

import json
from io import StringIO

import pytest
import torch
from cli_checks import ARCH, fails, run_cli
from costs_samples import cheap_costs
from helpers import tiny_network

from ssn_prune.costs import emitting, measuring
from ssn_prune.costs.reading import read_costs
from ssn_prune.json_values import to_json

COSTS = cheap_costs(["sn1", "sn2"])


@pytest.fixture
def checkpoint(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    torch.save({"state_dict": tiny_network().state_dict()}, "net.pth")
    return ("costs", "net.pth", *ARCH)


@pytest.fixture
def made_up(monkeypatch):
    """Nothing is measured; what the library was asked for."""
    asked = []

    def measure(loaded, options, *, cache, progress):
        asked.append((options, cache))
        return COSTS

    monkeypatch.setattr(measuring, "measure_costs", measure)
    return asked


def test_the_table_the_document_and_the_file_say_the_same(checkpoint, made_up, tmp_path):
    shown = run_cli(*checkpoint, "-o", "costs.json")
    assert shown.exit_code == 0, shown.output
    assert "IN/LN" in shown.stderr + shown.stdout
    assert "sn2" in shown.stderr + shown.stdout
    assert "10.00 ms" in shown.stderr + shown.stdout
    assert read_costs(tmp_path / "costs.json") == COSTS
    printed = run_cli(*checkpoint, "--json")
    assert json.loads(printed.stdout) == to_json(COSTS)


def test_options_reach_the_measurement(checkpoint, made_up, monkeypatch, tmp_path):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    run_cli(*checkpoint, "--threads", "2", "--batch", "3", "--target", "onnxruntime", "--static")
    run_cli(*checkpoint, "--no-cache")
    (options, cache), (_, none) = made_up
    assert (options.threads, options.batch, options.target, options.static) == (
        2,
        3,
        "onnxruntime",
        True,
    )
    assert cache == tmp_path / "cache" / "ssn_prune" / "costs"
    assert none is None


def test_costs_of_a_file_are_shown_if_they_are_of_this_network(checkpoint, tmp_path):
    (tmp_path / "board.json").write_text(json.dumps(to_json(COSTS)))
    shown = run_cli(*checkpoint, "--costs", "board.json", "--json")
    assert json.loads(shown.stdout) == to_json(COSTS)
    (tmp_path / "other.json").write_text(json.dumps(to_json(cheap_costs(["a"]))))
    text, error = fails(tmp_path, 1, *checkpoint, "--costs", "other.json")
    assert error["code"] == "bad_costs"
    assert "no costs of sn1, sn2" in text
    assert "leave --costs out" in text


def test_an_existing_file_is_kept_unless_it_is_forced(checkpoint, made_up, tmp_path):
    (tmp_path / "costs.json").write_text("mine")
    _, error = fails(tmp_path, 1, *checkpoint, "-o", "costs.json")
    assert error["code"] == "output_not_written"
    assert not made_up
    assert run_cli(*checkpoint, "-o", "costs.json", "--force").exit_code == 0
    assert read_costs(tmp_path / "costs.json") == COSTS


def test_probes_and_costs_are_not_both_written(checkpoint, tmp_path):
    text, _ = fails(tmp_path, 2, *checkpoint, "--emit", "probes", "-o", "costs.json")
    assert "and no costs" in text
    assert not (tmp_path / "probes").exists()


@pytest.mark.parametrize(
    ("given", "more", "named"),
    [
        (("--emit", "probes"), ("--threads", "2"), "--threads"),
        (("--emit", "probes"), ("--provider", "cpu"), "--provider"),
        (("--emit", "probes"), ("--runs", "20", "--no-cache"), "--runs, --no-cache"),
        (("--costs", "costs.json"), ("--batch", "1"), "--batch"),
        (("--costs", "costs.json"), ("--static", "--target", "portable"), "--target, --static"),
        (("--costs", "costs.json"), ("--threads", "2", "--timeout", "9"), "--threads, --timeout"),
    ],
)
def test_options_of_a_measurement_are_refused_without_one(
    checkpoint, made_up, tmp_path, given, more, named
):
    (tmp_path / "costs.json").write_text(json.dumps(to_json(COSTS)))
    message, _ = fails(tmp_path, 2, *checkpoint, *given, *more)
    assert f"{given[0]} with {named}\n" in message
    assert f"leave {named} out" in message
    assert not made_up


def test_options_of_a_measurement_may_stay_in_a_file(checkpoint, tmp_path):
    (tmp_path / "costs.json").write_text(json.dumps(to_json(COSTS)))
    (tmp_path / "ssn-prune.toml").write_text("[costs]\nthreads = 2\n")
    assert run_cli(*checkpoint, "--costs", "costs.json").exit_code == 0


def test_probes_are_written_instead_of_measuring(checkpoint, made_up, monkeypatch, tmp_path):
    asked = []

    def emit(loaded, folder, options, *, progress):
        asked.append((folder, options.batch))
        return 18

    monkeypatch.setattr(emitting, "emit_probes", emit)
    shown = run_cli(*checkpoint, "--emit", "probes", "--batch", "2")
    assert shown.exit_code == 0
    assert "18 probes" in shown.stderr + shown.stdout
    printed = run_cli(*checkpoint, "--emit", "probes", "--json")
    assert json.loads(printed.stdout) == {"emitted": "probes", "probes": 18}
    assert [(str(folder), batch) for folder, batch in asked] == [("probes", 2), ("probes", 1)]
    assert not made_up


def test_the_table_fits_a_narrow_terminal():
    from rich.console import Console

    from ssn_prune.console import costs_table

    costs = cheap_costs(["features.denseblock4.denselayer16.norm1", "sn2"])
    console = Console(width=80, record=True, file=StringIO())
    console.print(costs_table(costs, 80))
    text = console.export_text()
    assert "BN/LN" in text
    assert "…" not in text
    assert max(map(len, text.splitlines())) <= 80
