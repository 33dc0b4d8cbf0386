"""The command line on input that fails late: while the network runs, or inside other libraries."""

import json

import pytest
import torch
from cli_checks import ARCH, contents, fails, run_cli
from helpers import tiny_network

from ssn_prune import CaptureError, ExportError, conversion, convert, load_checkpoint
from ssn_prune.checkpoint import loading as assemble
from ssn_prune.cli.exit_codes import FAILURE, USAGE, VERIFICATION


@pytest.fixture
def folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    torch.save({"state_dict": tiny_network().state_dict()}, "net.pth")
    return tmp_path


def test_an_input_size_that_the_network_cannot_take(folder):
    text, _ = fails(folder, USAGE, "convert", "net.pth", *ARCH, "--input-size", "3x8x8")
    assert "3x8x8" in text


def test_an_input_size_of_a_wide_tensor_is_usable(folder):
    arguments = ["convert", "net.pth", *ARCH, "--input-size", "4x12", "--json"]
    result = run_cli(*arguments)
    assert result.exit_code == 0, result.stderr
    assert json.loads(result.stdout)["verification"]["algebra"]["passed"]


ONE_IMAGE = """
from helpers import TinyNetwork

class OneImage(TinyNetwork):
    def forward(self, x):
        y = super().forward(x)
        return 2 * y if x.shape[0] == 1 else y
"""


def test_code_that_differs_for_one_image_is_told_so(folder, monkeypatch):
    (folder / "one_image.py").write_text(ONE_IMAGE)
    monkeypatch.syspath_prepend(str(folder))
    command = ["convert", "net.pth", "--arch", "one_image:OneImage", "--input-size", "8"]
    text, _ = fails(folder, VERIFICATION, *command)
    assert "not at 1" in text
    assert "--static-batch 1" in text
    assert run_cli(*command, "--static-batch", "1").exit_code == 0  # the hint works


@pytest.mark.parametrize("content", [None, b"", b"no ONNX file"], ids=["missing", "empty", "text"])
def test_verify_without_a_usable_onnx_file(folder, content):
    if content is not None:
        (folder / "x.onnx").write_bytes(content)
    text, _ = fails(folder, FAILURE, "verify", "net.pth", "x.onnx", *ARCH)
    assert "x.onnx" in text


def test_verify_of_another_networks_file_has_an_exit_code_of_its_own(folder):
    convert(load_checkpoint("net.pth", arch=ARCH[1]), "x.onnx")
    torch.save({"state_dict": tiny_network(seed=1).state_dict()}, "net.pth")
    before = contents(folder)
    result = run_cli("verify", "net.pth", "x.onnx", *ARCH, "--json")
    assert result.exit_code == VERIFICATION
    assert json.loads(result.stdout)["error"]["type"] == "VerificationError"
    assert "Traceback" not in result.stderr
    assert contents(folder) == before


def test_a_defect_is_no_traceback_and_still_json(folder, monkeypatch):
    def defect(*_arguments, **_options):
        raise ZeroDivisionError("a defect")

    monkeypatch.setattr(assemble, "load_checkpoint", defect)
    plain = run_cli("convert", "net.pth", *ARCH)
    assert plain.exit_code == FAILURE
    assert "unexpected ZeroDivisionError: a defect" in plain.stderr
    assert "Traceback" not in plain.stderr
    for_machines = run_cli("convert", "net.pth", *ARCH, "--json")
    assert for_machines.exit_code == FAILURE
    document = json.loads(for_machines.stdout)
    assert document["exit_code"] == FAILURE
    assert document["error"]["type"] == "ZeroDivisionError"


@pytest.mark.parametrize("kind", [ExportError, CaptureError])
def test_an_error_with_a_cause_says_how_to_see_it(folder, monkeypatch, kind):
    def fail(*_arguments, **_options):
        raise kind("no", expected="a", found="b", hint="pass `static_batch=4`") from ValueError("c")

    monkeypatch.setattr(conversion, "convert", fail)
    _, error = fails(folder, FAILURE, "convert", "net.pth", *ARCH)
    assert error["hint"] == "pass --static-batch 4; --debug shows the whole traceback"
    assert error["code"] == kind.code
    shown = run_cli("convert", "net.pth", *ARCH, "--debug")
    assert "ValueError: c" in shown.stderr
    assert "--debug" not in shown.stderr.rpartition("error: ")[2]


def test_debug_shows_the_traceback(folder):
    result = run_cli("convert", "none.pth", "--debug")
    assert result.exit_code == FAILURE
    assert "Traceback" in result.stderr


def test_report_and_output_cannot_be_one_file(folder):
    fails(folder, FAILURE, "convert", "net.pth", *ARCH, "-o", "x.onnx", "--report", "x.onnx")


def test_an_operator_set_that_does_not_exist(folder):
    fails(folder, USAGE, "convert", "net.pth", *ARCH, "--opset", "99")


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("sn1.weight", None),
        ("sn1.var_weight", torch.ones(0)),
        ("sn1.var_weight", torch.tensor(1.0)),
        ("sn1.var_weight", torch.tensor([0.0, 0.0, 0.0, 1.0])),
        ("sn1.radius", torch.ones(0)),
        ("sn1.mean_fixed", torch.ones(0, dtype=torch.int64)),
    ],
    ids=["no weight", "empty gate", "scalar gate", "gate of 4", "empty radius", "empty flag"],
)
def test_inspect_of_a_file_with_malformed_layers(folder, key, value):
    state = tiny_network().state_dict()
    del state[key]
    torch.save(state if value is None else {**state, key: value}, "bad.pth")
    text, _ = fails(folder, FAILURE, "inspect", "bad.pth")
    assert "sn1" in text
