"""inspect needs no torch, reads the gates and statistics only, and says whose gates it found."""

import hashlib
import json
import os
import subprocess
import sys

import pytest
import torch
from cli_checks import run_cli
from helpers import reference_layout, tiny_network
from safetensors.torch import save_file

HEAVY = {"torch", "torchvision", "numpy", "onnx", "onnxruntime", "safetensors", "timm"}
FORMATS = pytest.mark.parametrize("form", ["zip", "legacy", "safetensors"])


def written(folder, form, model=None):
    state = reference_layout(tiny_network() if model is None else model)
    path = folder / f"net.{form}"
    if form == "safetensors":
        save_file(state, path)
    else:
        torch.save({"state_dict": state}, path, _use_new_zipfile_serialization=form == "zip")
    return path


def soft(mean, var, radius=0.55):
    model = tiny_network()
    with torch.no_grad():
        for gate, logits in (("mean", mean), ("var", var)):
            getattr(model.sn2, f"{gate}_weight").copy_(torch.tensor(logits))
            getattr(model.sn2, f"{gate}_fixed").zero_()
        model.sn2.radius.fill_(radius)
    return model


@FORMATS
@pytest.mark.parametrize("options", [[], ["--json"], ["--hash"]], ids=lambda o: " ".join(o))
def test_nothing_heavy_is_imported(tmp_path, form, options):
    command = [sys.executable, "-X", "importtime", "-m", "ssn_prune", "inspect"]
    command += [str(written(tmp_path, form)), *options]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    lines = [line for line in done.stderr.splitlines() if line.startswith("import time:")]
    imported = {line.rpartition("|")[2].strip().partition(".")[0] for line in lines}
    assert "ssn_prune" in imported
    assert imported.isdisjoint(HEAVY)


@FORMATS
def test_all_formats_give_the_same_layers(tmp_path, form):
    model = soft([0.2, 0.45, -0.3], [0.9, 0.1, 0.6])
    for name in (form, "zip"):
        written(tmp_path, name, model)
    found = [
        json.loads(run_cli("inspect", str(tmp_path / f"net.{name}"), "--json").stdout)["layers"]
        for name in (form, "zip")
    ]
    assert found[0] == found[1]
    first, second = found[0]
    assert (first["gate_definition"], second["gate_definition"]) == (None, "reference")


def test_other_weights_are_not_read(tmp_path):
    """A flipped bit is found in what is read: gates and statistics, no kernel."""
    path = written(tmp_path, "zip")
    kernel = torch.load(path, weights_only=True)["state_dict"]["conv2.weight"]
    data = bytearray(path.read_bytes())
    place = data.index(kernel.numpy().tobytes())
    data[place] ^= 1
    path.write_bytes(data)
    assert run_cli("inspect", str(path)).exit_code == 0
    gates = torch.load(path, weights_only=True)["state_dict"]["sn2.running_var"]
    data[data.index(gates.numpy().tobytes())] ^= 1
    path.write_bytes(data)
    result = run_cli("inspect", str(path))
    assert result.exit_code == 1
    assert "checksum" in result.stderr


def test_the_hash_is_read_if_it_is_asked_for(tmp_path):
    path = written(tmp_path, "zip")
    expected = hashlib.sha256(path.read_bytes()).hexdigest()
    assert expected not in run_cli("inspect", str(path)).stdout
    assert f"sha256 {expected}" in run_cli("inspect", str(path), "--hash").stdout
    document = json.loads(run_cli("inspect", str(path), "--json").stdout)
    assert document["source"]["sha256"] == expected


@pytest.mark.parametrize(("form", "word"), [("reference", "reference code"), ("ours", "paper")])
def test_the_table_says_whose_gates_they_are(tmp_path, form, word):
    model = soft([0.2, 0.45, -0.3], [0.9, 0.1, 0.6])
    state = reference_layout(model) if form == "reference" else model.state_dict()
    torch.save(state, tmp_path / "net.pth")
    text = run_cli("inspect", str(tmp_path / "net.pth")).stdout
    assert word in text
    assert "not ratios" not in text


def test_a_gate_that_left_the_simplex_is_named(tmp_path):
    path = written(tmp_path, "zip", soft([0.3, 0.3, 0.3], [0.9, 0.1, 0.6]))
    result = run_cli("inspect", str(path))
    assert result.exit_code == 0
    assert "sn2 (mean gate)" in result.stdout
    assert "--on-unconverged argmax" in result.stdout
    gate = json.loads(run_cli("inspect", str(path), "--json").stdout)["layers"][1]["mean"]
    assert (gate["on_simplex"], gate["choice"]) == (False, "IN")
    arguments = ("--arch", "helpers:TinyNetwork", "-o", str(tmp_path / "net.onnx"))
    refused = run_cli("convert", str(path), *arguments)
    assert refused.exit_code == 1
    assert "sn2.mean_weight" in refused.stderr
    cured = run_cli("convert", str(path), *arguments, "--on-unconverged", "argmax")
    assert cured.exit_code == 0, cured.stderr
    assert os.path.exists(tmp_path / "net.onnx")
