"""Execution providers: found by their names, and refused where ONNX Runtime would take the CPU.

A device is needed for the rest: that its session's first provider is the device's, and that the
rounding check holds there without TF32.
"""

from __future__ import annotations

from pathlib import Path

import onnx
import onnxruntime
import pytest
from onnx import helper

from ssn_prune.errors import ArgumentError
from ssn_prune.runtime.providers import CPU, provider_named, provider_with_options
from ssn_prune.runtime.sessions import open_session

MISSING = next(
    name
    for name in onnxruntime.get_all_providers()
    if name not in onnxruntime.get_available_providers()
)


@pytest.fixture
def relu(tmp_path: Path) -> Path:
    values = [helper.make_tensor_value_info(name, 1, [4]) for name in "xy"]
    graph = helper.make_graph([helper.make_node("Relu", ["x"], ["y"])], "g", values[:1], values[1:])
    opset = [helper.make_opsetid("", 18)]
    onnx.save(helper.make_model(graph, opset_imports=opset, ir_version=8), tmp_path / "m.onnx")
    return tmp_path / "m.onnx"


@pytest.mark.parametrize("name", ["cpu", "CPU", "CPUExecutionProvider", "cpuexecutionprovider"])
def test_a_provider_has_its_own_name_and_a_short_one(name: str) -> None:
    assert provider_named(name) == CPU


@pytest.mark.parametrize("name", [MISSING, MISSING.removesuffix("ExecutionProvider"), "", "gpu\n"])
def test_what_is_not_installed_is_refused_with_what_is(name: str) -> None:
    with pytest.raises(ArgumentError, match="has no execution provider") as caught:
        provider_named(name)
    assert "cpu" in caught.value.expected
    assert "\n" not in caught.value.problem


def test_a_session_that_falls_back_to_the_cpu_is_refused(relu: Path) -> None:
    with (
        pytest.warns(UserWarning, match=MISSING),
        pytest.raises(ArgumentError, match=f"does not run m.onnx on {MISSING}") as caught,
    ):
        open_session(relu, "m.onnx", provider=MISSING)
    assert caught.value.found == CPU


def test_a_session_runs_on_the_provider_that_it_names(relu: Path) -> None:
    assert open_session(relu, "m.onnx", provider=CPU, float32=True).get_providers()[0] == CPU


def test_only_a_check_in_float32_turns_tf32_off() -> None:
    cuda = "CUDAExecutionProvider"
    assert provider_with_options(cuda, float32=True) == (cuda, {"use_tf32": "0"})
    assert provider_with_options(cuda, float32=False) == cuda
    assert provider_with_options(CPU, float32=True) == CPU
