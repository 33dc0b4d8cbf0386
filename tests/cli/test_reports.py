"""Reports that commands write, and what happens when they cannot."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from cli_checks import ARCH, fails, run_cli
from helpers import tiny_network
from report_runs import run

from ssn_prune import GateRecords
from ssn_prune.cli.exit_codes import FAILURE, OK, USAGE, VERIFICATION
from ssn_prune.pruning import rewrite
from ssn_prune.reporting.formats.html import html
from ssn_prune.reporting.formats.table import FORMATS
from ssn_prune.reporting.reading import read_run

SUFFIXES = [entry.suffix for entry in FORMATS]


@pytest.fixture
def folder(tmp_path, monkeypatch):
    torch.save(tiny_network().state_dict(), tmp_path / "net.pth")
    (tmp_path / "run.json").write_text(json.dumps(run().document()))
    (tmp_path / "page.html").write_text(html(run(soft=(2,))))
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture(scope="module")
def converted(tmp_path_factory):
    """A conversion with a report in every format, a benchmark and a history."""
    folder = tmp_path_factory.mktemp("converted")
    torch.save(tiny_network().state_dict(), folder / "net.pth")
    ratios = np.zeros((3, 2, 2, 3), dtype=np.float32)
    ratios[..., 2] = 1
    steps = np.arange(3, dtype=np.int64)
    GateRecords(("sn1", "sn2"), steps, ratios).save(folder / "gates.npz")
    reports = [f for s in SUFFIXES for f in ("--report", str(folder / f"r{s}"))]
    command = ("convert", str(folder / "net.pth"), *ARCH, "-o", str(folder / "m.onnx"), "--bench")
    result = run_cli(*command, "--history", str(folder / "gates.npz"), *reports, "--json")
    assert result.exit_code == OK, result.stderr
    return folder, json.loads(result.stdout)


def test_every_format_is_of_the_run_that_is_printed(converted):
    folder, document = converted
    assert json.loads((folder / "r.json").read_text()) == document
    found = read_run(folder / "r.html")
    assert found.document() == document
    for entry in FORMATS:
        assert (folder / f"r{entry.suffix}").read_bytes().decode() == entry.write(found)


def test_the_document_has_what_the_page_needs(converted):
    folder, document = converted
    assert document["command"][:4] == ["ssn-prune", "convert", str(folder / "net.pth"), "--output"]
    assert document["command"][-1] == "--json"
    assert document["options"]["opset"] == 18
    assert document["environment"]["packages"]["torch"]
    assert [step["step"] for step in document["steps"]][:2] == ["loading", "pruning"]
    assert len(document["onnx"]["sha256"]) == 64
    first, second = document["layers"]
    assert (first["order"], second["order"]) == (0, 1)
    assert first["producer"].startswith("aten.conv2d") or "conv" in first["producer"]
    checks = document["verification"]
    for check in ("algebra", "rounding"):
        assert [layer["layer"] for layer in checks[check]["layers"]] == ["sn1", "sn2"]
        assert all(layer["error"] <= layer["bound"] for layer in checks[check]["layers"])
    names = [network["name"] for network in document["bench"]["networks"]]
    assert names == ["original", "pruned", "norm-free"]
    assert document["bench"]["networks"][1]["nodes"] == document["onnx"]["nodes"]
    assert {len(trace["margins"]) for trace in document["history"]} == {3}


def test_the_command_is_in_one_spelling(folder):
    options = ("--no-fold", "--verify", "none", "-f", "--report", "r.json", "-q")
    assert run_cli("convert", "net.pth", *ARCH, "-o", "a b.onnx", *options).exit_code == OK
    assert json.loads((folder / "r.json").read_text())["command"] == [
        *("ssn-prune", "convert", "net.pth", "--output", "a b.onnx", *ARCH, "--no-fold"),
        *("--report", "r.json", "--verify", "none", "--force", "--quiet"),
    ]


def test_a_conversion_that_fails_its_checks_leaves_its_report_and_no_model(folder, monkeypatch):
    right = rewrite.rewrite

    def wrong(plan, model):
        pruned = right(plan, model)
        with torch.no_grad():
            pruned.conv2.weight.mul_(1.01)
        return pruned

    monkeypatch.setattr("ssn_prune.verification.algebra.rewrite", wrong)
    command = ("convert", "net.pth", *ARCH, "-o", "m.onnx", "--report", "r.html", "--report")
    result = run_cli(*command, "r.json")
    assert result.exit_code == VERIFICATION
    assert not (folder / "m.onnx").exists()
    found = read_run(folder / "r.html").report
    assert found == read_run(folder / "r.json").report
    assert found.verification.algebra.first_layer_off == "sn2"
    assert found.command[:2] == ("ssn-prune", "convert")
    assert "Do not use." in (folder / "r.html").read_text()


def test_verify_writes_reports_too(converted, tmp_path):
    folder, _ = converted
    arguments = (str(folder / "net.pth"), str(folder / "m.onnx"), *ARCH)
    result = run_cli("verify", *arguments, "--report", str(tmp_path / "v.html"))
    assert result.exit_code == OK, result.stderr
    found = read_run(tmp_path / "v.html").report
    assert found.onnx is None
    assert [layer.layer for layer in found.verification.rounding.layers] == ["sn1", "sn2"]
    fails(tmp_path, FAILURE, "verify", *arguments, "--report", str(folder / "m.onnx"))


@pytest.mark.parametrize("name", ["r.txt", "r", "r.html.bak"])
def test_a_suffix_without_a_format_is_refused_before_the_work(folder, name):
    text, error = fails(folder, USAGE, "convert", "net.pth", *ARCH, "--report", name)
    assert error["code"] == "bad_argument"
    assert ".html (a page)" in text


def test_two_reports_cannot_be_one_file(folder):
    command = ("convert", "net.pth", *ARCH, "--report", "r.html", "--report", "./r.html")
    assert "would replace --report" in fails(folder, FAILURE, *command)[0]


def test_a_history_that_is_none_is_refused_before_the_work(folder):
    fails(folder, FAILURE, "convert", "net.pth", *ARCH, "--history", "net.pth")


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_a_saved_run_is_rendered_again(folder, suffix):
    for source in ("run.json", "page.html"):
        name = f"{source}{suffix}"
        assert run_cli("report", source, "-o", name).exit_code == OK
        entry = next(entry for entry in FORMATS if entry.suffix == suffix)
        assert (folder / name).read_bytes().decode() == entry.write(read_run(folder / source))


def test_a_report_without_an_output_says_the_verdict(folder):
    shown = run_cli("report", "run.json").stdout
    assert "Same answers, 66 % fewer operators. Speed not measured." in shown
    assert json.loads(run_cli("report", "run.json", "--json").stdout) == run().document()


def test_two_reports_are_compared(folder):
    result = run_cli("report", "run.json", "page.html", "-o", "c.html", "-o", "c.md")
    assert "1 layer selected something else" in result.stdout
    assert "not one-hot" in (folder / "c.md").read_text()
    document = json.loads(run_cli("report", "run.json", "page.html", "--json").stdout)
    assert [change["name"] for change in document["changes"]] == ["layer1.0.sn2"]
    assert run_cli("report", "run.json", "run.json").exit_code == OK
    assert "no format" in fails(folder, USAGE, "report", "run.json", "run.json", "-o", "c.svg")[0]


def test_outputs_of_report_are_kept_and_replaced_like_others(folder):
    assert "exists already" in fails(folder, FAILURE, "report", "run.json", "-o", "page.html")[0]
    assert "would replace RUN" in fails(folder, FAILURE, "report", "run.json", "-o", "run.json")[0]
    assert "standard output" in fails(folder, FAILURE, "report", "run.json", "-o", "-")[0]
    assert run_cli("report", "run.json", "-o", "page.html", "--force").exit_code == OK


@pytest.mark.parametrize(
    "content", ["", "{}", "[", '{"schema_version": 9, "layers": [], "source": 1}']
)
def test_a_hostile_run_is_an_error(folder, content):
    (folder / "bad.json").write_text(content)
    _, error = fails(folder, FAILURE, "report", "bad.json")
    assert error["code"] == "bad_report"
    fails(folder, FAILURE, "report", "run.json", "bad.json", "-o", "c.html")
    fails(folder, FAILURE, "report", "none.json")


def test_names_that_a_terminal_would_obey_are_escaped(folder):
    Path("odd.json").write_text(json.dumps(run(["a", "b\x1b[31m"]).document()))
    Path("other.json").write_text(json.dumps(run(["a", "c"]).document()))
    shown = run_cli("report", "odd.json", "other.json").stdout
    assert "\x1b[31m" not in shown
    assert "b\\x1b[31m" in shown
