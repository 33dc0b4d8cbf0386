"""Options from a file: found or named, checked as a whole, weaker than the command line."""

from __future__ import annotations

import json
import os
import tomllib
from pathlib import Path

import onnx
import pytest
import torch
import typer
from cli_checks import ARCH, contents, fails, run_cli
from helpers import tiny_network
from hypothesis import given
from hypothesis import strategies as st

from ssn_prune.cli.app import app
from ssn_prune.cli.config_file import nearest_file
from ssn_prune.cli.config_options import options_of
from ssn_prune.cli.config_saving import toml_value
from ssn_prune.cli.configurable import ConfigurableCommand
from ssn_prune.cli.exit_codes import USAGE

COMMANDS = {
    name: command
    for name, command in typer.main.get_command(app).commands.items()
    if isinstance(command, ConfigurableCommand)
}

finite = st.floats(allow_nan=False)


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    torch.save({"state_dict": tiny_network().state_dict()}, "net.pth")
    return tmp_path


def write(text: str, name: str = "ssn-prune.toml") -> None:
    Path(name).write_text(text)


def refused(*words: str, command: tuple[str, ...] = ("inspect", "net.pth")) -> str:
    text, error = fails(Path.cwd(), USAGE, *command)
    for word in words:
        assert word in text
    return error["found"]


CONVERT = """
arch = "helpers:TinyNetwork"   # convert, verify, bench, search and costs have it
[convert]
opset = 17
fold = false
dynamic = "none"
"""


def converted(*words: str) -> tuple[onnx.ModelProto, dict]:
    result = run_cli("convert", "net.pth", "--force", "--json", *words)
    assert result.exit_code == 0, result.stderr
    return onnx.load("net.onnx"), json.loads(result.stdout)


def test_a_named_file_gives_options_and_the_command_line_wins():
    write(CONVERT, "mine.toml")
    model, report = converted("--config", "mine.toml", "--opset", "16")
    assert model.opset_import[0].version == 16
    assert model.graph.input[0].type.tensor_type.shape.dim[0].dim_value == 1
    # The report's command says it all, without the file.
    command = report["command"]
    assert command[:3] == ["ssn-prune", "convert", "net.pth"]
    for words in (["--arch", "helpers:TinyNetwork"], ["--opset", "16"], ["--no-fold"]):
        at = command.index(words[0])
        assert command[at : at + len(words)] == words
    assert "--config" not in command
    assert all(layer["fold"] is None for layer in report["layers"])
    again = run_cli(*command[1:], "--no-config", "--dry-run")
    assert again.exit_code == 0, again.stderr


@pytest.mark.parametrize(
    ("name", "table"),
    [("ssn-prune.toml", "[inspect]"), ("pyproject.toml", "[tool.ssn-prune.inspect]")],
)
@pytest.mark.parametrize("below", [".", "a/b"])
def test_the_nearest_file_is_found_and_named(folder, monkeypatch, name, table, below):
    write(f"{table}\nhash = true\n", name)
    (folder / below).mkdir(parents=True, exist_ok=True)
    monkeypatch.chdir(below)
    net = os.path.relpath(folder / "net.pth")
    plain = run_cli("inspect", net)
    assert plain.exit_code == 0, plain.stderr
    assert plain.stdout.splitlines()[0].endswith(f"{name}: hash")
    assert "sha256" in plain.stdout
    assert "sha256" not in run_cli("inspect", net, "--no-config").stdout
    write("[inspect]\nhash = false\n")
    assert "sha256 " not in run_cli("inspect", net).stdout


def test_other_peoples_pyproject_files_are_passed_over(folder, monkeypatch):
    write("[inspect]\nhash = true")
    (folder / "a" / "b").mkdir(parents=True)
    monkeypatch.chdir("a")
    write("[project]\nname = 'ssn-prune'", "pyproject.toml")
    monkeypatch.chdir("b")
    write("this is [not TOML", "pyproject.toml")
    assert nearest_file(Path.cwd()).path == folder / "ssn-prune.toml"
    os.remove("pyproject.toml")
    os.mkfifo("pyproject.toml")
    assert nearest_file(Path.cwd()).path == folder / "ssn-prune.toml"


def test_all_wrong_keys_are_in_one_message_with_near_matches():
    write(
        """
        targt = "onnxruntime"
        input_size = 8
        mean = true
        [convert]
        opset = "new"
        target = "onnx"
        fold = "no"
        report = [1, {}]
        static-batch = 0
        [serch]
        points = 3
        [inspect]
        arch = "resnetv1ssn18"
        when = 2020-01-01
        [verify]
        config = "other.toml"
        """
    )
    found = refused("has 12 keys that cannot be used")
    for problem in (
        "targt (did you mean target?)",
        "input_size (did you mean input-size?)",
        "mean: one text or number is expected",
        "[convert] opset: ",
        "[convert] target: 'onnx' is not one of 'portable', 'onnxruntime'",
        "[convert] fold: true or false is expected",
        "[convert] report: a list of texts is expected",
        "[convert] static-batch: ",
        "serch (did you mean search",
        "[inspect] arch (there is no such option)",
        "[inspect] when (there is no such option)",
        "[verify] config (there is no such option)",
    ):
        assert problem in found, found
    assert run_cli("inspect", "net.pth", "--no-config").exit_code == 0


@pytest.mark.parametrize(
    "text",
    [
        "arch = 'x",
        "a = 1\na = 2",
        "a = " + "[" * 60_000,
        "a" + ".b" * 60_000 + " = 1",
        "n = " + "9" * 9_000,
        "\ud800",
        "x = '" + "a" * 2**18 + "'",
    ],
    ids=["quote", "twice", "deep", "dotted", "number", "no utf-8", "large"],
)
def test_a_file_that_is_no_toml_is_refused(text):
    Path("ssn-prune.toml").write_bytes(text.encode("utf-8", "surrogatepass"))
    refused("ssn-prune.toml", "--no-config")
    write("")
    assert run_cli("inspect", "net.pth").exit_code == 0


def test_a_named_file_must_be_there():
    os.mkfifo("pipe.toml")
    for name in ("none.toml", "pipe.toml", "."):
        refused(name, command=("inspect", "net.pth", "--config", name))
    refused(
        "tool.ssn-prune", command=("inspect", "net.pth", "--config", _project("tool.ssn-prune = 1"))
    )
    both = ("inspect", "net.pth", "--config", "x.toml", "--no-config")
    refused("--no-config takes none", command=both)


def _project(text: str) -> str:
    Path("below").mkdir()
    write(text, "below/pyproject.toml")
    return "below/pyproject.toml"


@pytest.mark.parametrize(
    "line",
    [
        "arch = 'evil:Network'",
        "arch = 'evil.py'",
        "data = 'evil:loader'",
        "test-data = 'evil:loader'",
        "force = true",
        "trust-pt2 = true",
        "arch-args = {weights = 'DEFAULT'}",
    ],
)
@pytest.mark.parametrize("name", ["ssn-prune.toml", "pyproject.toml"])
def test_a_file_that_was_found_runs_no_code_and_replaces_nothing(folder, name, line):
    """Somebody else may have written it; the user's word is needed."""
    write("open('ran', 'w')", "evil.py")
    write(f"[tool.ssn-prune]\n{line}" if name == "pyproject.toml" else line, name)
    for command in ("convert", "inspect"):
        refused(f"a file that you name: --config {folder / name}", command=(command, "net.pth"))
    assert not Path("ran").exists()
    assert run_cli("inspect", "net.pth", "--config", name).exit_code == 0


def test_names_of_the_library_s_own_networks_need_no_word():
    write("arch = 'torchvision:resnet18'\ndata = 'photos.zip/test'\nforce = false")
    assert run_cli("inspect", "net.pth").exit_code == 0


def test_a_required_option_may_stand_in_the_file():
    write("[search]\ndata = 'nowhere'\ndry-run = true\narch = 'helpers:TinyNetwork'", "mine.toml")
    result = run_cli("search", "missing.pth", "--config", "mine.toml")
    assert "missing.pth does not exist" in result.stderr
    assert "Missing option" in run_cli("search", "missing.pth").stderr


def test_tables_and_lists_are_what_would_be_typed(folder):
    write(
        "[convert]\narch-args = {num_classes = 3}\ninput-size = 8\nreport = '.json'\n"
        "mean = [0.5, 0.25]\nstatic-batch = 2\narch = 'helpers:TinyNetwork'",
        "mine.toml",
    )
    result = run_cli("convert", "net.pth", "-o", "n.onnx", "--config", "mine.toml", "--dry-run")
    assert "--report has no file" in result.stderr  # a list of one
    write("[convert]\narch-args = {num_classes = 3}\narch = 'helpers:TinyNetwork'\ninput-size = 8")
    plan = run_cli(
        "convert", "net.pth", "--config", "ssn-prune.toml", "--dry-run", "--save-config", "a.toml"
    )
    assert plan.exit_code == 0, plan.stderr
    assert tomllib.loads(Path("a.toml").read_text()) == {
        "convert": {
            "arch": "helpers:TinyNetwork",
            "arch-args": '{"num_classes": 3}',
            "input-size": "8",
        }
    }


def test_a_batch_reads_the_file_once(monkeypatch):
    """Its processes get the options, or a summary of one file would be a batch again."""
    monkeypatch.setenv(
        "PYTHONPATH",
        os.pathsep.join(
            [str(Path(__file__).parents[1] / "support"), os.environ.get("PYTHONPATH", "")]
        ),
    )
    write("arch = 'helpers:TinyNetwork'\n[convert]\nsummary = 'all.csv'\nopset = 17", "my.toml")
    result = run_cli("convert", "net.pth", "--config", "my.toml", "-o", "out")
    assert result.exit_code == 0, result.stderr
    assert onnx.load("out/net.onnx").opset_import[0].version == 17
    assert Path("all.csv").exists()


def test_options_are_kept_and_give_the_same_again(folder):
    typed = ["--opset", "17", "--no-fold", "--dynamic", "none", "--mean", "0.5", "--std", "0.25"]
    names = ["--input-names", 'a "b"', "--report", "r.json", "--report", "r.html"]
    command = ("convert", "net.pth", *ARCH, *typed, *names, "--save-config", "mine.toml")
    result = run_cli(*command)
    assert result.exit_code == 0, result.stderr
    assert "wrote mine.toml" in result.stdout
    first, report = onnx.load("net.onnx"), json.loads(Path("r.json").read_text())
    for name in ("net.onnx", "r.json", "r.html"):
        os.remove(name)
    again = run_cli("convert", "net.pth", "--config", "mine.toml")
    assert again.exit_code == 0, again.stderr
    assert onnx.load("net.onnx").graph == first.graph
    assert json.loads(Path("r.json").read_text())["command"] == report["command"]
    before = contents(folder)
    fails(folder, 1, *command, "--force")  # it may be edited by now
    assert contents(folder) == before


def test_options_of_a_run_that_fails_are_not_kept(folder):
    fails(folder, 1, "inspect", "missing.pth", "--save-config", "mine.toml")
    for name in ("mine.txt", "pyproject.toml", "no/folder.toml", "-"):
        fails(folder, 1, "inspect", "net.pth", "--save-config", name)


@pytest.mark.parametrize("name", COMMANDS)
def test_every_option_of_every_command_may_stand_in_a_file(name):
    options = options_of(COMMANDS[name])
    typed = {option.name for option in COMMANDS[name].params if option.param_type_name == "option"}
    assert {option.name for option in options.values()} == typed - {
        "config",
        "no_config",
        "save_config",
    }
    flags = {key for key, option in options.items() if option.is_flag}
    write(f"[{name}]\n" + "\n".join(f"{key} = false" for key in sorted(flags)))
    assert run_cli("inspect", "net.pth").exit_code == 0


@given(st.text(st.characters(exclude_categories=["Cs"])) | st.booleans() | st.integers() | finite)
def test_every_value_is_read_back(value):
    assert tomllib.loads(f"key = {toml_value(value)}") == {"key": value}
