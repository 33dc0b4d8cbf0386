"""Files in the runtimes of the table: right, opened again where they must be, typed errors."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import helper

from ssn_prune.errors import InferenceRuntimeError
from ssn_prune.runtime.backends.interface import Backend, OpenFile
from ssn_prune.runtime.backends.running import RunningFile, require_installed
from ssn_prune.runtime.backends.table import BACKENDS

INSTALLED = [backend for backend in BACKENDS if backend.name in ("onnxruntime", "openvino")]


@pytest.fixture
def file(tmp_path: Path) -> Path:
    """Two inputs with an open batch, two outputs: the mean over the width, and the difference."""
    shape = ["batch", 3, 5]
    values = [helper.make_tensor_value_info(name, 1, shape) for name in "ab"]
    outputs = [helper.make_tensor_value_info(name, 1, None) for name in ("mean", "difference")]
    axes = helper.make_tensor("axes", 7, [1], [2])
    nodes = [
        helper.make_node("ReduceMean", ["a", "axes"], ["mean"], keepdims=1),
        helper.make_node("Sub", ["a", "b"], ["difference"]),
    ]
    graph = helper.make_graph(nodes, "g", values, outputs, [axes])
    opset = [helper.make_opsetid("", 18)]
    onnx.save(helper.make_model(graph, opset_imports=opset, ir_version=8), tmp_path / "m.onnx")
    return tmp_path / "m.onnx"


def inputs(batch: int) -> list[np.ndarray]:
    generator = np.random.default_rng(batch)
    return [generator.standard_normal((batch, 3, 5), dtype=np.float32) for _ in range(2)]


@pytest.mark.parametrize("backend", INSTALLED, ids=lambda backend: backend.name)
def test_a_file_is_right_at_several_batch_sizes_and_outputs_stay(
    backend: Backend, file: Path
) -> None:
    run = RunningFile(backend, file)
    kept = [(arrays, run(arrays)) for arrays in map(inputs, (2, 1, 2))]
    for (first, second), (mean, difference) in kept:
        expected = first.astype(np.float64).mean(2, keepdims=True)
        np.testing.assert_allclose(mean, expected, rtol=0, atol=3e-7)
        np.testing.assert_array_equal(difference, first - second)
    assert backend.version()[0].isdigit()


@pytest.mark.parametrize("backend", INSTALLED, ids=lambda backend: backend.name)
def test_what_cannot_be_loaded_or_run_is_a_typed_error_that_names_the_runtime(
    backend: Backend, file: Path, tmp_path: Path
) -> None:
    (tmp_path / "broken.onnx").write_bytes(b"no graph")
    with pytest.raises(InferenceRuntimeError, match=backend.title):
        RunningFile(backend, tmp_path / "broken.onnx")(inputs(1))
    with pytest.raises(InferenceRuntimeError, match=backend.title):
        RunningFile(backend, file)([np.zeros((1, 4, 5), np.float32)] * 2)


def noted(opened: list[Sequence[tuple[int, ...]]], *, open_batch: bool) -> Backend:
    """A runtime that gives its inputs back and notes how it was opened."""

    def open_file(_path: Path, shapes: Sequence[tuple[int, ...]], _threads: int) -> OpenFile:
        opened.append(shapes)
        return list

    changes = {"name": "noted", "open_batch": open_batch, "open": open_file}
    return dataclasses.replace(BACKENDS[0], **changes)


@pytest.mark.parametrize(("open_batch", "times"), [(True, 1), (False, 3)])
def test_a_runtime_without_an_open_batch_opens_the_file_for_each_shape(
    open_batch: bool, times: int, file: Path
) -> None:
    opened: list[Sequence[tuple[int, ...]]] = []
    run = RunningFile(noted(opened, open_batch=open_batch), file)
    for batch in (1, 1, 2, 3):
        assert run(inputs(batch))[0].shape == (batch, 3, 5)
    assert len(opened) == times
    assert opened[-1] == [(3 if times == 3 else 1, 3, 5)] * 2


def test_other_sizes_than_the_batch_open_the_file_again(file: Path) -> None:
    opened: list[Sequence[tuple[int, ...]]] = []
    run = RunningFile(noted(opened, open_batch=True), file)
    for size in (4, 4, 5):
        run([np.zeros((1, size), np.float32)])
    assert opened == [[(1, 4)], [(1, 5)]]


def test_a_missing_runtime_is_an_error_with_the_command_that_installs_it(file: Path) -> None:
    names = ("opencv-python-headless", "numpy<3")
    missing = dataclasses.replace(
        BACKENDS[0], title="Missing", module="no_such_module", requirements=names
    )
    with pytest.raises(InferenceRuntimeError, match="Missing is not installed") as caught:
        RunningFile(missing, file)
    assert caught.value.hint == "pip install opencv-python-headless 'numpy<3'"
    require_installed(BACKENDS[0])
