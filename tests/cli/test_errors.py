"""The command line on wrong input: exit code, message, JSON, and nothing left behind."""

import json

import pytest
import torch
from cli_checks import ARCH, contents, fails, run_cli
from helpers import Evaluates, Executes, reference_layout, tiny_network

from ssn_prune.cli.exit_codes import FAILURE, UNCONVERGED, USAGE


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """The current folder, with a good checkpoint ``net.pth``."""
    monkeypatch.chdir(tmp_path)
    torch.save({"state_dict": tiny_network().state_dict()}, "net.pth")
    return tmp_path


def truncate(path, share=0.5):
    whole = path.read_bytes()
    path.write_bytes(whole[: int(share * len(whole))])


def broken_file(folder, kind):
    """Put something that is no usable checkpoint at ``bad.pth``."""
    path = folder / "bad.pth"
    state = tiny_network().state_dict()
    legacy = {"_use_new_zipfile_serialization": False}
    if kind == "directory":
        path.mkdir()
    elif kind == "empty":
        path.touch()
    elif kind == "text":
        path.write_text("not a checkpoint")
    elif kind == "truncated zip":
        torch.save(state, path)
        truncate(path)
    elif kind == "truncated legacy":
        torch.save(state, path, **legacy)
        truncate(path, 0.9)
    elif kind == "list":
        torch.save([1, 2, 3], path)
    elif kind == "no weights":
        torch.save({"epoch": 3}, path, **legacy)
    elif kind == "NaN":
        state["conv2.weight"][0] = torch.nan
        torch.save(state, path)
    elif kind == "NaN in a gate":
        state["sn2.mean_weight"][0] = torch.nan
        torch.save(state, path)
    elif kind == "infinity":
        state["sn1.running_var"][0] = torch.inf
        torch.save(state, path)
    elif kind == "no SSN layer":
        torch.save(torch.nn.BatchNorm2d(3).state_dict(), path)


@pytest.mark.parametrize("command", ["convert", "inspect", "verify"])
@pytest.mark.parametrize(
    ("kind", "word"),
    [
        ("missing", "does not exist"),
        ("empty", "is empty"),
        ("text", "is not a checkpoint"),
        ("truncated zip", "damaged, truncated"),
        ("truncated legacy", "damaged, truncated"),
        ("list", "holds no weights"),
        ("no weights", "holds no weights"),
        ("NaN in a gate", "sn2.mean_weight"),
        ("infinity", "sn1.running_var"),
    ],
)
def test_a_file_that_is_no_checkpoint(folder, command, kind, word):
    broken_file(folder, kind)
    rest = {"convert": ARCH, "inspect": (), "verify": ("x.onnx", *ARCH)}[command]
    text, error = fails(folder, FAILURE, command, "bad.pth", *rest)
    assert word in text
    assert error["type"] == "CheckpointError"


@pytest.mark.parametrize(("command", "rest"), [("convert", ARCH), ("verify", ("x.onnx", *ARCH))])
def test_a_network_whose_weights_are_not_numbers(folder, command, rest):
    broken_file(folder, "NaN")
    text, error = fails(folder, FAILURE, command, "bad.pth", *rest)
    assert "conv2.weight" in text
    assert error["type"] == "CheckpointError"


@pytest.mark.parametrize("command", ["convert", "inspect", "verify"])
@pytest.mark.parametrize("danger", [Executes, Evaluates])
def test_a_dangerous_file_is_refused_and_not_executed(folder, command, danger):
    canary = folder / "canary"
    state = tiny_network().state_dict()
    torch.save({"state_dict": state, "extra": danger(canary)}, "bad.pth")
    rest = {"convert": ARCH, "inspect": (), "verify": ("x.onnx", *ARCH)}[command]
    text, error = fails(folder, FAILURE, command, "bad.pth", *rest)
    assert ("system" if danger is Executes else "eval") in text
    assert error["type"] == "UnsafeCheckpointError"
    assert not canary.exists()


@pytest.mark.parametrize("path", ["bad.pth", ".", ".."])
def test_a_folder_in_the_place_of_a_checkpoint(folder, path):
    broken_file(folder, "directory")
    assert "is a directory" in fails(folder, FAILURE, "inspect", path)[0]
    assert "is a directory" in fails(folder, FAILURE, "verify", path, "x.onnx", *ARCH)[0]


@pytest.mark.parametrize("path", ["bad.pth", "bad.pth/."])
def test_a_folder_without_checkpoints(folder, path):
    broken_file(folder, "directory")
    assert "has no checkpoint" in fails(folder, USAGE, "convert", path, *ARCH)[0]


def test_an_empty_path_is_not_the_current_folder(folder):
    assert "is empty" in fails(folder, USAGE, "convert", "", *ARCH)[0]


def test_a_checkpoint_without_switchable_layers(folder):
    broken_file(folder, "no SSN layer")
    _, error = fails(folder, FAILURE, "inspect", "bad.pth")
    assert error["type"] == "NoSwitchableLayerError"
    network = ("--arch", "torch.nn:BatchNorm2d", "--arch-args", '{"num_features": 3}')
    _, error = fails(folder, FAILURE, "convert", "bad.pth", *network, "--input-size", "3x4x4")
    assert error["type"] == "NoSwitchableLayerError"


def test_the_wrong_architecture(folder):
    text, error = fails(folder, FAILURE, "convert", "net.pth", "--arch", "resnetv1ssn18")
    assert "does not fit resnetv1ssn18" in text
    assert error["type"] == "KeyMismatchError"
    assert "layer1.0.sn1.weight" in error["missing"]
    assert "conv2.weight" in error["unexpected"]
    assert error["misshaped"][0].startswith("conv1.weight: (4, 1, 3, 3)")


@pytest.mark.parametrize(
    ("name", "near"),
    [("resnetv1snn18", "resnetv1ssn18"), ("torchvision:resnet81", "torchvision:resnet18")],
)
def test_an_unknown_architecture(folder, name, near):
    text, error = fails(folder, FAILURE, "convert", "net.pth", "--arch", name)
    assert f"unknown architecture {name!r}" in text
    assert near in error["hint"]


@pytest.mark.parametrize("name", [":Net", "nothing:", ":"])
def test_half_a_name_of_an_architecture(folder, name):
    text, error = fails(folder, FAILURE, "convert", "net.pth", "--arch", name)
    assert f"unknown architecture {name!r}" in text
    assert "package.module:factory" in error["expected"]


def test_a_file_to_verify_that_is_not_there(folder):
    options = ("--arch", "helpers:TinyNetwork")
    text, error = fails(folder, FAILURE, "verify", "net.pth", "none.onnx", *options)
    assert "none.onnx does not exist" in text
    assert error["code"] == "runtime_failed"


def test_no_architecture(folder):
    assert "--arch" in fails(folder, FAILURE, "convert", "net.pth")[0]


def test_a_file_that_names_code(folder):
    state = tiny_network().state_dict()
    torch.save({"state_dict": state, "arch": "someones_code:build"}, "bad.pth")
    assert "would import code" in fails(folder, FAILURE, "convert", "bad.pth")[0]


def test_running_sums(folder):
    state = tiny_network().state_dict()
    for key in state:
        if "running_" in key:
            state[key] *= 5000
    torch.save(state, "bad.pth")
    text, error = fails(folder, FAILURE, "convert", "bad.pth", *ARCH)
    assert "sums over training steps" in text
    assert error["type"] == "UnsupportedLayerError"


def test_an_existing_output_is_kept(folder):
    (folder / "taken.onnx").write_text("precious")
    text, error = fails(folder, FAILURE, "convert", "net.pth", *ARCH, "-o", "taken.onnx")
    assert "taken.onnx exists already" in text
    assert "--force" in error["hint"]


@pytest.mark.parametrize("force", [[], ["--force"]])
def test_the_checkpoint_is_never_replaced_even_with_force(folder, force):
    arguments = ["convert", "net.pth", *ARCH, "-o", "net.pth", *force]
    assert "would replace the checkpoint" in fails(folder, FAILURE, *arguments)[0]


@pytest.mark.parametrize(
    ("command", "given"),
    [
        (("convert", "net.pth", "-o", "x.npz", "--data", "x.npz"), "--data"),
        (("verify", "net.pth", "x.onnx", "--report", "x.json", "--data", "x.json/a"), "--data"),
        (
            ("verify", "net.pth", "x.onnx", "--report", "x.json", "--from-report", "x.json"),
            "--from-report",
        ),
    ],
)
def test_what_is_read_is_never_replaced(folder, command, given):
    for name in ("x.npz", "x.json"):
        (folder / name).write_text("precious")
    assert f"would replace {given}" in fails(folder, FAILURE, *command)[0]


def test_a_failing_conversion_keeps_the_old_output_even_with_force(folder):
    (folder / "taken.onnx").write_text("precious")
    broken_file(folder, "NaN")
    fails(folder, FAILURE, "convert", "bad.pth", *ARCH, "-o", "taken.onnx", "--force")


@pytest.mark.parametrize("option", ["--output", "--report"])
@pytest.mark.parametrize("path", ["none/x.onnx", "net.pth/x.onnx", "net.pth/deep/x.onnx", "."])
def test_an_output_that_cannot_be_written(folder, option, path):
    _, error = fails(folder, FAILURE, "convert", "net.pth", *ARCH, option, path)
    assert error["type"] == "OutputError"


def soft_checkpoint(path):
    model = tiny_network()
    model.sn1.mean_fixed.zero_()
    with torch.no_grad():
        model.sn1.mean_weight.copy_(torch.tensor([0.6, 0.5, 0.4]))
    model.sn1.radius.fill_(0.5)
    torch.save(reference_layout(model), path)


@pytest.mark.parametrize("command", [("convert", "bad.pth"), ("verify", "bad.pth", "x.onnx")])
def test_soft_gates_have_an_exit_code_of_their_own(folder, command):
    soft_checkpoint("bad.pth")
    text, error = fails(folder, UNCONVERGED, *command, *ARCH)
    assert "1 of 2 layers have gates that are not one-hot: sn1" in text
    assert "0.5000" in text
    assert "--on-unconverged" in error["hint"]
    (layer,) = error["layers"]
    assert (layer["name"], layer["mean"]["converged"], layer["var"]["converged"]) == (
        "sn1",
        False,
        True,
    )


@pytest.mark.parametrize(
    ("option", "value"),
    [
        *(("--arch-args", v) for v in ("{", "[1]", "7", "num_classes=3", "")),
        *(("--input-size", v) for v in ("0", "-1", "8x", "x8", "8x8x8x8", "big", "", "8.5", "²")),
        ("--prefix", "encoder."),
        ("--weights", "no_such_entry"),
    ],
)
def test_values_that_cannot_be_used(folder, option, value):
    _, error = fails(folder, USAGE, "convert", "net.pth", *ARCH, option, value)
    assert error["type"] == "ArgumentError"


@pytest.mark.parametrize(
    "arguments",
    [
        ("convert",),
        ("convert", "net.pth", "--no-such-option"),
        ("convert", "net.pth", "--on-unconverged", "maybe"),
        ("convert", "net.pth", "--correction", "3"),
        ("convert", "net.pth", "--static-batch", "0"),
        ("convert", "net.pth", "--verify", "some"),
        ("verify", "net.pth"),
        ("no-such-command",),
    ],
)
def test_a_wrong_command_line_is_a_usage_error(folder, arguments):
    before = contents(folder)
    result = run_cli(*arguments)
    assert result.exit_code == USAGE
    assert "Traceback" not in result.stderr
    assert "Usage" in result.stderr
    assert contents(folder) == before


@pytest.mark.parametrize("line", [["-dash.pth"], ["net.pth", "--nothing"], []])
def test_a_wrong_command_line_is_a_document_with_json(folder, line):
    before = contents(folder)
    result = run_cli("convert", *line, "--json", "--no-config")
    assert result.exit_code == USAGE
    error = json.loads(result.stdout)["error"]
    assert error["code"] == "bad_argument"
    assert "--help" in error["hint"]
    assert contents(folder) == before
