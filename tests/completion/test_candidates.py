"""What may follow on a command line, and that the generated lists are what the code says."""

from __future__ import annotations

import importlib.util
import json
import resource
import subprocess
import sys
from pathlib import Path

import pytest

from ssn_prune.completion import candidates as completing
from ssn_prune.completion.candidates import FILES, WORDS, answer, candidates

ROOT = Path(completing.__file__).parents[2]


@pytest.fixture(scope="module")
def maker():
    path = ROOT / "docs" / "make_completion.py"
    spec = importlib.util.spec_from_file_location("make_completion", path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def words(line: str) -> list[str]:
    kind, found = candidates(f"ssn-prune {line}")
    assert kind == WORDS
    return [word for word, _ in found]


def test_the_commands_are_what_their_parameters_say(maker):
    """If this fails: python docs/make_completion.py."""
    assert (maker.FOLDER / "commands.json").read_text(encoding="utf-8") == maker.commands()


def test_the_architectures_are_those_of_the_libraries(maker):
    """If this fails: python docs/make_completion.py. Another release may have more of them."""
    versions, *listed = (maker.FOLDER / "architectures.txt").read_text("utf-8").splitlines()
    known = maker.architectures().splitlines()[1:]
    assert set(listed) <= set(known)
    if versions == f"# {maker.versions()}":
        assert listed == known


def test_every_parameter_that_is_called_a_file_exists(maker):
    found = json.loads(maker.commands())
    text = json.dumps(found)
    assert found["convert"]["takes"] == "files"
    assert text.count('"files"') > len(maker.PATHS)


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ("conv", ["convert"]),
        ("co", ["convert", "costs", "completion"]),
        ("--v", ["--version"]),
        ("convert --on", ["--on-unconverged"]),
        ("convert net.pth -o a.onnx --fo", ["--format", "--fold", "--force"]),
        ("convert --fold --fo", ["--format", "--force"]),
        ("convert --report a.html --rep", ["--report"]),  # may be repeated
        ("convert --no-f", ["--no-fold"]),
        ("convert --target o", ["onnxruntime", "openvino", "opencv"]),
        ("convert --target=openc", ["--target=opencv"]),
        ("verify a b --with mn", ["mnn"]),
        ("completion ", ["bash", "zsh", "fish"]),
        ("convert --arch torchvision:resnet10", ["torchvision:resnet101"]),
        ("convert --arch=torchvision:resnet10", ["--arch=torchvision:resnet101"]),
        ("convert --arch timm:resnet10t", ["timm:resnet10t"]),
        ("convert --arch resnetv1sn1", ["resnetv1sn18", "resnetv1sn101", "resnetv1sn152"]),
        ("convert --arch t", ["torchvision:", "timm:"]),
        ("convert --opset 1", []),
        ("nonsense --", []),
        ("convert --arch-args x -- --f", None),
    ],
)
def test_candidates_for_the_last_word(line, expected):
    if expected is None:
        assert candidates(f"ssn-prune {line}") == (FILES, [])
    else:
        assert words(line) == expected


@pytest.mark.parametrize(
    "line",
    [
        *("convert ", "convert net", "verify net.pth ", "convert --output ", "convert -o m"),
        *("search --data ", "convert --config=", "convert --force ", "costs --read x"),
    ],
)
def test_files_are_left_to_the_shell(line):
    assert candidates(f"ssn-prune {line}") == (FILES, [])


def test_the_first_word_of_an_empty_line_is_a_command_with_a_description():
    kind, found = candidates("ssn-prune ")
    assert kind == WORDS
    assert dict(found)["inspect"] == "Show what every layer selected."
    assert "" not in dict(found)
    assert answer("ssn-prune inspect --h").splitlines()[:2] == [
        "words",
        "--help\tShow this message and exit.",
    ]


def test_libraries_that_are_not_installed_are_not_offered(monkeypatch):
    monkeypatch.setattr(sys, "path", [])
    assert words("convert --arch t") == []
    assert words("convert --arch timm:resnet1") == []


@pytest.mark.parametrize("line", ["", "ssn-prune", 'ssn-prune convert "a b', "ssn-prune \udc80 \t"])
def test_no_line_is_an_error(line):
    assert answer(line).splitlines()[0] in (FILES, WORDS)


def test_an_answer_is_quick_and_imports_nothing_heavy():
    """0.3 s of a free core; of a busy one the time is somebody else's."""
    line = "ssn-prune convert --arch timm:r"
    command = [sys.executable, "-X", "importtime", "-m", "ssn_prune", "__complete", line]
    seconds = []
    for _ in range(3):
        before = resource.getrusage(resource.RUSAGE_CHILDREN)
        done = subprocess.run(command, capture_output=True, text=True, check=True)
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
        seconds.append(after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime)
    assert done.stdout.startswith("words\ntimm:")
    assert min(seconds) < 0.3
    imported = {entry.rpartition("|")[2].strip() for entry in done.stderr.splitlines()}
    assert "ssn_prune.completion.candidates" in imported
    assert imported.isdisjoint({"torch", "typer", "rich", "numpy", "timm", "ssn_prune.cli"})
