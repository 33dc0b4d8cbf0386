"""verify --with and --provider: what is printed, and what is refused."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest
import torch
from cli_checks import ARCH, run_cli
from helpers import tiny_network

RUNTIME_CHECK = {
    *("runtime", "version", "passed", "error", "twin_error", "bound", "onnxruntime_error"),
    *("original_float32_error", "output", "scale"),
}


@pytest.fixture(scope="module")
def converted(tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    """The arguments that verify a file against its checkpoint."""
    folder = tmp_path_factory.mktemp("converted")
    torch.save(tiny_network().state_dict(), folder / "net.pth")
    command = ["convert", str(folder / "net.pth"), *ARCH, "-o", str(folder / "m.onnx")]
    assert run_cli(*command, "--verify", "none").exit_code == 0
    return ["verify", str(folder / "net.pth"), str(folder / "m.onnx"), *ARCH]


def test_another_runtime_is_in_the_document_and_the_provider_is_named(converted: list[str]) -> None:
    result = run_cli(*converted, "--verify", "rounding", "--with", "openvino", "--json")
    assert result.exit_code == 0, result.stderr
    found = json.loads(result.stdout)["verification"]
    assert found["rounding"]["provider"] == "CPUExecutionProvider"
    (check,) = found["runtimes"]
    assert set(check) >= RUNTIME_CHECK
    assert (check["runtime"], check["passed"]) == ("openvino", True)


def test_a_runtime_that_is_wrong_ends_with_the_status_of_a_failed_check(
    converted: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A module ``openvino`` that only the process of the file finds, and that gives zeros."""
    (tmp_path / "openvino.py").write_text(
        "class Core:\n"
        "    def compile_model(self, *_):\n"
        "        return Compiled()\n"
        "class Compiled:\n"
        "    outputs = (0,)\n"
        "    def __call__(self, arrays):\n"
        "        return [[[0.0] * 3] * len(arrays[0])]\n"
    )
    path = os.pathsep.join([str(tmp_path), os.environ.get("PYTHONPATH", "")])
    monkeypatch.setenv("PYTHONPATH", path)
    result = run_cli(*converted, "--verify", "none", "--with", "openvino")
    assert result.exit_code == 3
    assert "does not give the original's outputs in OpenVINO" in result.stderr
    assert "an error of 1; of" in " ".join(result.stderr.split())


@pytest.mark.parametrize(
    ("option", "value", "known"),
    [("--with", "cv7", "onnxruntime or openvino"), ("--provider", "abacus", "cpu")],
)
def test_an_unknown_name_is_a_usage_error_that_lists_the_known_ones(
    converted: list[str], option: str, value: str, known: str
) -> None:
    result = run_cli(*converted, option, value)
    assert result.exit_code == 2
    text = " ".join(result.stderr.split())
    assert f"found: {option} {value}" in text
    assert known in text


def test_a_benchmark_names_its_provider_and_refuses_one_that_is_not_there(
    converted: list[str],
) -> None:
    file = converted[2]
    result = run_cli("bench", file, "--input-size", "1x8x8", "--runs", "2", "--json")
    document = json.loads(result.stdout)
    assert document["provider"] == "CPUExecutionProvider"
    assert document["options"]["provider"] == "CPUExecutionProvider"
    refused = run_cli("bench", file, "--input-size", "1x8x8", "--provider", "abacus")
    assert refused.exit_code == 2
    assert "no execution provider 'abacus'" in refused.stderr
