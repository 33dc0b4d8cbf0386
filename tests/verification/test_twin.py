"""The file of a twin: exported as the network's own was, or not at all."""

from __future__ import annotations

from pathlib import Path

import onnx
import onnxruntime
import pytest
from helpers import tiny_network
from torch import nn

from ssn_prune import random_batches
from ssn_prune.runtime.file_options import FileOptions
from ssn_prune.verification.twin import export_twin

SINGLES = random_batches([(1, 8, 8)], (1, 1, 1, 1))


@pytest.fixture(scope="module")
def original() -> nn.Module:
    return tiny_network()


def shape_of_input(path: Path) -> list[int | str]:
    session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    return session.get_inputs()[0].shape


def test_the_batch_and_the_operator_set_are_those_of_the_file(
    original: nn.Module, tmp_path: Path
) -> None:
    options = FileOptions(20, 9, "none")
    made = export_twin(original, SINGLES, options, tmp_path)
    assert made is not None
    assert shape_of_input(made.path) == [1, 1, 8, 8]
    model = onnx.load(made.path)
    assert (model.opset_import[0].version, model.ir_version) == (20, 9)


def test_options_that_nothing_is_exported_with_give_no_twin(
    original: nn.Module, tmp_path: Path
) -> None:
    assert export_twin(original, SINGLES, FileOptions(999, 9, "none"), tmp_path) is None


def test_single_samples_are_enough_to_export_an_open_batch(
    original: nn.Module, tmp_path: Path
) -> None:
    made = export_twin(original, SINGLES, FileOptions(18, 10, "batch"), tmp_path)
    assert made is not None
    assert shape_of_input(made.path) == ["batch", 1, 8, 8]
