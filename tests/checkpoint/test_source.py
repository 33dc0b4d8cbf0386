"""Weights without a network: no torch, no hash unless asked for, and bounded facts."""

import hashlib
import json
import subprocess
import sys

import pytest
import torch
from helpers import tiny_network
from safetensors.torch import save_file

from ssn_prune.checkpoint.source import open_weights
from ssn_prune.checkpoint.tensors import to_torch
from ssn_prune.errors import CheckpointError

HEAVY = ("torch", "numpy", "onnx", "safetensors")
SCRIPT = """
import json, sys
from ssn_prune.checkpoint.source import open_weights
with open_weights(sys.argv[1], with_hash=True) as opened:
    gates = {k: t.numbers() for k, t in opened.tensors.items() if k.endswith("mean_weight")}
print(json.dumps([gates, [name for name in %r if name in sys.modules]]))
"""


@pytest.mark.parametrize("form", ["zip", "legacy", "safetensors"])
def test_gates_are_read_without_torch(tmp_path, form):
    state = tiny_network().state_dict()
    path = tmp_path / "net.pth"
    if form == "safetensors":
        save_file(state, path)
    else:
        torch.save(state, path, _use_new_zipfile_serialization=form == "zip")
    done = subprocess.run(
        [sys.executable, "-c", SCRIPT % (HEAVY,), path], capture_output=True, text=True, check=True
    )
    gates, imported = json.loads(done.stdout)
    assert gates == {k: v.tolist() for k, v in state.items() if k.endswith("mean_weight")}
    assert imported == []


def test_the_hash_is_computed_only_when_asked_for(tmp_path):
    path = tmp_path / "net.pth"
    torch.save(tiny_network().state_dict(), path)
    with open_weights(path) as opened:
        assert opened.source.sha256 is None
    with open_weights(path, with_hash=True) as opened:
        assert opened.source.sha256 == hashlib.sha256(path.read_bytes()).hexdigest()


def test_other_tensors_are_not_read(tmp_path):
    path = tmp_path / "net.pth"
    state = tiny_network().state_dict()
    torch.save(state, path)
    data = bytearray(path.read_bytes())
    data[data.index(state["fc.weight"].numpy().tobytes())] ^= 1
    path.write_bytes(data)
    with open_weights(path) as opened:
        assert opened.tensors["sn1.mean_weight"].numbers() == state["sn1.mean_weight"].tolist()
        with pytest.raises(CheckpointError, match="checksum"):
            to_torch(opened.tensors)


def test_facts_are_small(tmp_path):
    path = tmp_path / "net.pth"
    many = {f"fact{number}": number for number in range(200)}
    large = {
        "text": "x" * 5000,
        "red": "\x1b[31m",
        "a\nb": 1,
        "arch": "net\x00",
        "integer": 1 << 200,
        "epoch": 3,
        "y" * 5000: 1,
    }
    torch.save({"state_dict": tiny_network().state_dict(), **large, **many}, path)
    with open_weights(path) as opened:
        facts = opened.source.facts
    assert len(facts) == 100
    assert facts["epoch"] == 3
    assert not facts.keys() & {"text", "integer", "red", "a\nb"}
    assert opened.source.arch is None


@pytest.mark.parametrize("key", ["a\nb", "\x1b[31mred", "k" * 2000])
def test_a_key_that_cannot_be_a_name_is_refused(tmp_path, key):
    path = tmp_path / "net.pth"
    torch.save({key: torch.ones(2), "w": torch.ones(2)}, path)
    with pytest.raises(CheckpointError, match="cannot be a weight") as caught, open_weights(path):
        pass
    assert len(str(caught.value)) < 1000
    assert "\x1b" not in str(caught.value)


def test_wrappers_that_hold_themselves_end(tmp_path):
    wrapper = {"epoch": 1}
    wrapper["module"] = wrapper
    path = tmp_path / "net.pth"
    torch.save({"state_dict": wrapper}, path)
    with pytest.raises(CheckpointError, match="holds no weights"), open_weights(path):
        pass


KINDS = {
    "meta": lambda t: t.to("meta"),
    "sparse_coo": lambda t: t.to_sparse(),
    "sparse_csr": lambda t: t.to_sparse_csr(),
    "float8": lambda t: t.to(torch.float8_e5m2),
    "complex64": lambda t: t.to(torch.complex64),
    "uint16": lambda t: t.abs().to(torch.uint16),
    "quantized": lambda t: torch.quantize_per_channel(
        t, torch.full((t.shape[0],), 0.1), torch.zeros(t.shape[0]), 0, torch.qint8
    ),
}
CURES = {
    "sparse_coo": lambda t: t.to_dense(),
    "sparse_csr": lambda t: t.to_dense(),
    "float8": lambda t: t.float(),
    "uint16": lambda t: t.float(),
    "quantized": lambda t: t.dequantize(),
}


@pytest.mark.filterwarnings("ignore:.*(parse|quantiz|TypedStorage)")
@pytest.mark.parametrize("zipped", [True, False], ids=["zip", "legacy"])
@pytest.mark.parametrize("kind", KINDS)
def test_a_weight_of_another_kind_is_named_with_a_cure(tmp_path, kind, zipped):
    state = tiny_network().state_dict()
    state["fc.weight"] = KINDS[kind](state["fc.weight"])
    path = tmp_path / "net.pth"
    torch.save(state, path, _use_new_zipfile_serialization=zipped)
    refusal = pytest.raises(CheckpointError, match=r"fc.weight of .* cannot")
    with refusal as caught, open_weights(path):
        pass
    assert kind.removesuffix("_coo").removesuffix("_csr") in caught.value.found
    if kind in CURES:
        torch.save({key: CURES[kind](value) for key, value in state.items()}, path)
        assert f"value.{CURES[kind].__code__.co_names[0]}()" in caught.value.hint
        with open_weights(path) as opened:
            assert to_torch(opened.tensors)["fc.weight"].dtype == torch.float32
