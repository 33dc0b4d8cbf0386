"""A torch program that is wrong is found out, and the first layer that is off is named."""

from __future__ import annotations

import copy
from pathlib import Path

import pytest
import torch
from helpers import tiny_network

from ssn_prune import ExportOptions, PruneResult, prune, random_batches, verify
from ssn_prune.errors import InferenceRuntimeError
from ssn_prune.onnx_export.metadata import layer_paths
from ssn_prune.surgery.results import LayerError
from ssn_prune.torch_export.exporter import write_pt2
from ssn_prune.verification.torch_runtime import layer_errors_pt2, open_pt2

BATCHES = random_batches([(1, 8, 8)], (1, 2, 3))


@pytest.fixture(scope="module")
def pruned() -> PruneResult:
    return prune(tiny_network(), BATCHES[1])


def off(errors: tuple[LayerError, ...]) -> list[str]:
    """The layers outside of their bounds; those of both layers were measured."""
    assert [error.layer for error in errors] == ["sn1", "sn2"]
    return [error.layer for error in errors if not error.error <= error.bound]


def written(pruned: PruneResult, path: Path, tampered: str | None = None) -> Path:
    """A program of the network, one of whose parameters is a percent larger."""
    model = copy.deepcopy(pruned.model)
    if tampered is not None:
        with torch.no_grad():
            model.get_parameter(tampered).mul_(1.01)
    options = ExportOptions(layer_paths=layer_paths(pruned.plan))
    write_pt2(model, BATCHES[1], path, path, options)
    return path


def test_a_program_is_verified_in_a_process_of_its_own(pruned: PruneResult, tmp_path: Path) -> None:
    path = written(pruned, tmp_path / "m.pt2")
    report = verify(pruned, path, BATCHES, algebra=False, trust_pt2=True)
    assert report.passed
    assert report.rounding is not None
    assert report.rounding.runtime == "torch"
    assert off(layer_errors_pt2(pruned.original, path, BATCHES[0])) == []


def test_a_tampered_program_fails_and_the_layer_is_named(
    pruned: PruneResult, tmp_path: Path
) -> None:
    path = written(pruned, tmp_path / "m.pt2", "conv1.weight")
    report = verify(pruned, path, BATCHES, algebra=False, trust_pt2=True)
    assert report.rounding is not None
    assert not report.rounding.passed
    assert report.rounding.first_layer_off == "sn1"
    path = written(pruned, tmp_path / "other.pt2", "conv2.bias")
    assert off(layer_errors_pt2(pruned.original, path, BATCHES[0])) == ["sn2"]


def test_a_program_for_other_inputs_is_a_typed_error(pruned: PruneResult, tmp_path: Path) -> None:
    run = open_pt2(written(pruned, tmp_path / "m.pt2"))
    for inputs in ((torch.randn(2, 1, 9, 8),), (torch.randn(2, 3, 8, 8),), BATCHES[0] * 2):
        with pytest.raises(InferenceRuntimeError, match="torch cannot run"):
            run(inputs)
