"""Code that cannot run here is refused, unless that is accepted."""

from __future__ import annotations

import json
from pathlib import Path

import onnx
import pytest
import torch
from cli_checks import run_cli
from foreign_layers import GpuOnlyNetwork, GpuOnlySwitch
from foreign_networks import X, network, refused

from ssn_prune import prune
from ssn_prune.errors import ArgumentError
from ssn_prune.surgery.from_reference import adopt_layers


def test_code_for_a_gpu_needs_a_word(capsys: pytest.CaptureFixture[str]) -> None:
    model = network(kind=GpuOnlySwitch)
    error = refused(model)
    assert "cannot run here" in error.problem
    assert "no kernel for the CPU" in error.found
    assert "`allow_unverified_layers=True`" in error.hint
    result = prune(model, X, on_unconverged="exact", allow_unverified_layers=True)
    check = result.report.adoption
    assert not check.compared
    assert check.reason == "code_cannot_run"
    assert check.detail == "NotImplementedError: no kernel for the CPU"
    assert result.reference is result.original
    assert capsys.readouterr().out == ""


def test_inputs_that_fit_neither_network_are_an_argument_error() -> None:
    for model in (network(), network(kind=GpuOnlySwitch), adopt_layers(network())):
        with pytest.raises(ArgumentError, match="cannot run on inputs of size 2x5x8x8") as caught:
            prune(model, torch.zeros(2, 5, 8, 8), on_unconverged="exact")
        assert "`input_size=`" in caught.value.hint


@pytest.fixture
def gpu_checkpoint(tmp_path: Path) -> Path:
    torch.manual_seed(0)
    torch.save(GpuOnlyNetwork().state_dict(), tmp_path / "net.pth")
    return tmp_path / "net.pth"


def test_convert_says_what_was_not_compared(gpu_checkpoint: Path) -> None:
    target = gpu_checkpoint.with_suffix(".onnx")
    common = ("convert", str(gpu_checkpoint), "--arch", "foreign_layers:GpuOnlyNetwork")
    common += ("-o", str(target), "--on-unconverged", "exact", "--force")
    failed = run_cli(*common)
    assert failed.exit_code == 1
    assert "cannot run here" in failed.stderr
    assert not target.exists()
    shown = run_cli(*common, "--allow-unverified-layers")
    assert shown.exit_code == 0, shown.stderr
    assert "not compared with your code" in shown.stdout
    assert "no kernel for the CPU" in shown.stdout
    document = json.loads(run_cli(*common, "--allow-unverified-layers", "--json").stdout)
    found = document["verification"]["adoption"]
    assert (found["compared"], found["reason"]) == (False, "code_cannot_run")
    metadata = {item.key: item.value for item in onnx.load(target).metadata_props}
    assert "no kernel for the CPU" in metadata["ssn_prune.unverified_layers"]
    verified = run_cli(
        "verify",
        str(gpu_checkpoint),
        str(target),
        *common[2:4],
        "--on-unconverged",
        "exact",
        "--allow-unverified-layers",
    )
    assert verified.exit_code == 0, verified.stderr
    assert "not compared with your code" in verified.stdout
