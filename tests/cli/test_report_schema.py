"""The shape of the JSON documents, written out: a change here is a new schema version."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from cli_checks import ARCH, run_cli
from helpers import tiny_network

from ssn_prune import GateRecords
from ssn_prune.benchmarking.records import SCHEMA_VERSION as BENCH_SCHEMA
from ssn_prune.report import SCHEMA_VERSION

NETWORK_STATS = {"parameters", "operators"}
GATE = {"choice", "ratios", "converged", "margin"}
LAYER = {
    *("name", "kind", "channels", "positions", "mean", "var", "converged", "radius", "aliases"),
    *("calls", "correction", "form", "fold", "folded_into", "reason_code", "reason"),
}
# Fields by the record that holds them. Later versions may add fields, never take one away.
SHAPE: dict[str, set[str]] = {
    "": {
        *("schema_version", "ssn_prune_version", "source", "layers", "before", "after"),
        *("capture_error", "rounded", "onnx", "verification", "captured_parts", "size_conditions"),
        *("format", "exported", "weights"),
    },
    "source": {
        *("file_name", "sha256", "format", "has_checksums", "entry", "other_entries", "prefix"),
        *("ignored_keys", "arch", "arch_args", "facts"),
    },
    "layers": LAYER,
    "layers.mean": GATE,
    "layers.var": GATE,
    "before": NETWORK_STATS,
    "after": NETWORK_STATS,
    "onnx": {
        *("file_name", "bytes", "external_data", "nodes", "operators", "opset", "ir_version"),
        *("inputs", "outputs"),
    },
    "verification": {"algebra", "rounding", "runtimes"},
    "verification.algebra": {
        *("passed", "output_error", "worst_layer", "worst_layer_error", "first_layer_off"),
        "tolerance",
    },
    "verification.rounding": {
        *("passed", "max_error", "original_float32_error", "bound", "scale", "top1_agreement"),
        *("inputs", "batch_sizes", "first_layer_off", "output", "activation", "provider"),
    },
}


def at(document: dict[str, Any], path: str) -> dict[str, Any]:
    """A record of the document; of lists the first entry."""
    found: Any = document
    for part in filter(None, path.split(".")):
        found = found[part]
        found = found[0] if isinstance(found, list) else found
    assert isinstance(found, dict)
    return found


@pytest.fixture
def checkpoint(tmp_path: Path) -> Path:
    path = tmp_path / "net.pth"
    torch.save({"epoch": 3, "state_dict": tiny_network().state_dict()}, path)
    return path


@pytest.fixture
def soft(tmp_path: Path) -> Path:
    model = tiny_network()
    with torch.no_grad():
        model.sn1.mean_fixed.zero_()
        model.sn1.mean_weight.copy_(torch.tensor([0.2, 0.1, 0.6]))
        model.sn1.radius.fill_(0.5)
    path = tmp_path / "soft.pth"
    torch.save(model.state_dict(), path)
    return path


def document_of(*arguments: object) -> Any:
    result = run_cli(*map(str, arguments), "--json")
    assert result.exit_code == 0, result.stderr
    return json.loads(result.stdout)


def test_a_conversion(checkpoint: Path, tmp_path: Path) -> None:
    document = document_of("convert", checkpoint, *ARCH, "-o", tmp_path / "m.onnx")
    assert document["schema_version"] == SCHEMA_VERSION == 3
    for path, fields in SHAPE.items():
        assert set(at(document, path)) >= fields, path
    first, second = document["layers"]
    assert (first["mean"]["choice"], first["var"]["choice"]) == ("IN", "BN")
    assert first["mean"]["ratios"] == {"IN": 1.0, "LN": 0.0, "BN": 0.0}
    assert (first["fold"], first["folded_into"]) == ("scale", "conv1")
    assert (second["fold"], second["folded_into"]) == ("scale_and_shift", "conv2")
    assert first["reason_code"] is first["reason"] is None
    assert document["rounded"] is None


def test_what_did_not_run_is_null(checkpoint: Path, tmp_path: Path) -> None:
    document = document_of("inspect", checkpoint)
    assert set(document) >= SHAPE[""]
    assert "history" not in document
    for part in ("before", "after", "onnx", "verification", "rounded"):
        assert document[part] is None
    assert {document["layers"][0][key] for key in ("form", "fold", "reason_code")} == {None}


def test_a_layer_without_a_fold_says_why_in_a_code(checkpoint: Path, tmp_path: Path) -> None:
    command = ("convert", checkpoint, *ARCH, "-o", tmp_path / "m.onnx", "--no-fold")
    for layer in document_of(*command)["layers"]:
        assert (layer["fold"], layer["folded_into"]) == (None, None)
        assert layer["reason_code"] == "folding_disabled"
        assert layer["reason"]


def test_rounded_gates(soft: Path, tmp_path: Path) -> None:
    command = ("convert", soft, *ARCH, "-o", tmp_path / "m.onnx", "--on-unconverged", "argmax")
    document = document_of(*command)
    assert set(document["rounded"]) >= {"layers", "max_error", "scale", "top1_agreement"}
    assert document["rounded"]["layers"] == ["sn1"]


def test_ratios_are_a_mapping_in_the_order_of_the_gate(soft: Path) -> None:
    gate = document_of("inspect", soft)["layers"][0]["mean"]
    assert list(gate["ratios"]) == ["IN", "LN", "BN"]
    assert sum(gate["ratios"].values()) == pytest.approx(1)
    assert (gate["choice"], gate["converged"]) == ("BN", False)


def test_a_gate_history(checkpoint: Path, tmp_path: Path) -> None:
    ratios = np.zeros((1, 1, 2, 3), dtype=np.float32)
    ratios[..., 0] = 1
    GateRecords(("sn1",), np.array([5], dtype=np.int64), ratios).save(tmp_path / "gates.npz")
    history = document_of("inspect", checkpoint, "--history", tmp_path / "gates.npz")["history"]
    assert set(history[0]) >= {"layer", "gate", "line", "one_hot_since", "choice", "changes"}
    assert history[0]["choice"] == "IN"  # whose number is 0
    GateRecords((), np.zeros(0, dtype=np.int64), ratios[:0, :0]).save(tmp_path / "none.npz")
    assert document_of("inspect", checkpoint, "--history", tmp_path / "none.npz")["history"] == []


def test_an_error(soft: Path, tmp_path: Path) -> None:
    result = run_cli("convert", str(soft), *ARCH, "-o", str(tmp_path / "m.onnx"), "--json")
    document = json.loads(result.stdout)
    assert set(document) == {"error", "exit_code"}
    assert document["exit_code"] == result.exit_code == 4
    error = document["error"]
    assert set(error) >= {"code", "type", "problem", "expected", "found", "hint", "layers"}
    assert (error["code"], error["type"]) == ("unconverged_gates", "UnconvergedGatesError")
    assert "--on-unconverged exact" in error["hint"]
    assert "`" not in error["hint"]
    assert set(error["layers"][0]) >= LAYER


def test_a_benchmark(checkpoint: Path) -> None:
    document = document_of("bench", checkpoint, *ARCH, "--runs", 2)
    assert document["schema_version"] == BENCH_SCHEMA == 1
    layer = document["layers"][0]
    assert {layer["mean"], layer["var"]} <= {"IN", "LN", "BN", "mixed"}
