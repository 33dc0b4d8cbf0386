"""``ssn-prune doctor``: for people and for programs, with an exit code."""

import json
from importlib import metadata

import pytest
from cli_checks import fails, run_cli

from ssn_prune import installation as checks
from ssn_prune.cli.exit_codes import FAILURE, OK, USAGE


@pytest.fixture(autouse=True)
def quickly(monkeypatch):
    monkeypatch.setattr(checks, "_IMPORTED", ("json",))


def test_a_sound_installation():
    plain = run_cli("doctor")
    assert plain.exit_code == OK, plain.stdout
    assert "\n  torch 2" in plain.stdout
    assert plain.stdout.endswith("no problem found\n")
    document = json.loads(run_cli("doctor", "--json").stdout)
    assert document["problems"] == []
    assert document["packages"]["torch"].startswith("2.")
    assert document["onnxruntime"]["opset"] >= 23
    assert document["environment"]["python"].startswith("3.")


def test_a_problem_has_a_cure_and_an_exit_code(monkeypatch):
    monkeypatch.setattr(checks, "_IMPORTED", ("no_such_module",))
    plain = run_cli("doctor")
    assert plain.exit_code == FAILURE
    assert "problem: no_such_module cannot be imported" in plain.stdout
    assert "  try: pip install" in plain.stdout
    document = json.loads(run_cli("doctor", "--json").stdout)
    assert [entry["code"] for entry in document["problems"]] == ["not_importable"]


def test_a_runtime_that_is_too_old_for_every_file_is_a_problem(monkeypatch):
    real = metadata.version
    monkeypatch.setattr(metadata, "version", lambda n: "1.5.2" if n == "onnxruntime" else real(n))
    document = json.loads(run_cli("doctor", "--json").stdout)
    assert document["onnxruntime"] is None
    assert [entry["code"] for entry in document["problems"]] == ["too_old"]


@pytest.mark.parametrize(
    ("version", "options"), [("1.12.1", ["--opset", "17"]), ("1.14.0", []), ("1.99", [])]
)
def test_what_a_runtime_reads(version, options):
    document = json.loads(run_cli("doctor", "--for", f"onnxruntime=={version}", "--json").stdout)
    assert document["convert_options"] == options
    assert document["version"] == version
    plain = run_cli("doctor", "--for", f"onnxruntime-gpu=={version}").stdout
    assert (" ".join(options) or "the default options") in plain


@pytest.mark.parametrize("text", ["onnxruntime", "openvino==2026.1", "onnxruntime==1.6", "", "=="])
def test_another_runtime_is_refused(tmp_path, text):
    fails(tmp_path, USAGE, "doctor", "--for", text)
