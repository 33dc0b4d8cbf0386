"""Files that are damaged, of another network, or mean harm end in typed errors."""

from __future__ import annotations

import json
import resource
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from helpers import Executes, TinyNetwork, tiny_network
from torch import nn

from ssn_prune import load_checkpoint, load_pruned, prune, save_pruned
from ssn_prune.errors import ArgumentError, CheckpointError, KeyMismatchError, UnsafeCheckpointError
from ssn_prune.pruned_weights.saving import write_pruned
from ssn_prune.pruning.capture.guard_text import require_known

KEY = "ssn_prune.pruned"
Header = dict[str, Any]


@pytest.fixture(scope="module")
def saved(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    path = tmp_path_factory.mktemp("saved") / "w.safetensors"
    save_pruned(prune(tiny_network(), torch.randn(2, 1, 8, 8)), path)
    return path.read_bytes()


def assembled(header: Header | bytes, data: bytes) -> bytes:
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    return len(text).to_bytes(8, "little") + text + data


def parts(content: bytes) -> tuple[Header, bytes]:
    length = int.from_bytes(content[:8], "little")
    return json.loads(content[8 : 8 + length]), content[8 + length :]


def with_plan(content: bytes, change: Callable[[Any], object]) -> bytes:
    """The file with another plan: what the change gives, or what it has changed in place."""
    header, data = parts(content)
    plan = json.loads(header["__metadata__"][KEY])
    changed = change(plan)
    plan = plan if changed is None else changed
    header["__metadata__"][KEY] = plan if isinstance(plan, str) else json.dumps(plan)
    return assembled(header, data)


def sets(*path: str | int, to: Any) -> Callable[[Any], None]:
    def change(plan: Any) -> None:
        for key in path[:-1]:
            plan = plan[key]
        plan[path[-1]] = to

    return change


def removes(*path: str | int) -> Callable[[Any], None]:
    def change(plan: Any) -> None:
        for key in path[:-1]:
            plan = plan[key]
        del plan[path[-1]]

    return change


LAYER = ("layers", 0)
SETTINGS = (*LAYER, "settings")
DEEP = "[" * 50_000 + "]" * 50_000
PLANS: dict[str, tuple[Callable[[Any], object], str]] = {
    "no JSON": (lambda _: "{", "no valid JSON"),
    "a list": (lambda plan: [plan], "no object"),
    "a number": (lambda _: "7", "no object"),
    "deep": (lambda _: DEEP, "no valid JSON"),
    "deep layers": (sets("layers", to=json.loads("[" * 500 + "]" * 500)), "no object"),
    "another version": (sets("version", to=2), "version 2"),
    "a version of text": (sets("version", to="1"), "plan.version"),
    "a version that is true": (sets("version", to=True), "plan.version"),
    "without layers": (removes("layers"), "layers is missing"),
    "an unknown field": (sets("code", to="x"), "unknown field 'code'"),
    "layers that are an object": (sets("layers", to={}), "layers is no list"),
    "a layer that is text": (sets(*LAYER, to="x"), r"layers\[0\] is no object"),
    "an unknown form": (sets(*LAYER, "form", to="os.system"), "os.system"),
    "a form that is a list": (sets(*LAYER, "form", to=["identity"]), "form"),
    "an unknown fold": (sets(*LAYER, "fold", to="eval"), "eval"),
    "an unknown step": (
        sets(*LAYER, "absorbs", to=[{"module": "fc", "operator": "call"}]),
        "operator is 'call'",
    ),
    "a name that is a number": (sets(*LAYER, "name", to=7), "name is no text"),
    "a module that is not there": (sets(*LAYER, "name", to="no.such"), "another network"),
    "an attribute that is no module": (sets(*LAYER, "name", to="forward"), "another network"),
    "a class": (sets(*LAYER, "name", to="__class__"), "another network"),
    "an alias that is not there": (sets(*LAYER, "aliases", to=["x"]), "another network"),
    "a step that is not there": (
        sets(*LAYER, "absorbs", to=[{"module": "x", "operator": "add"}]),
        "another network",
    ),
    "two ratios": (sets(*LAYER, "mean", to=[0.5, 0.5]), "2 ratios"),
    "ratios of text": (sets(*LAYER, "mean", to=["1", "0", "0"]), "no number"),
    "an endless eps": (sets(*SETTINGS, "eps", to=float("inf")), "no number"),
    "an eps that is no number": (sets(*SETTINGS, "eps", to=float("nan")), "no number"),
    "a huge eps": (sets(*SETTINGS, "eps", to=1e300), "very large"),
    "no channels": (sets(*SETTINGS, "num_features", to=0), "not positive"),
    "broken channels": (sets(*SETTINGS, "num_features", to=4.0), "no whole number"),
    "huge channels": (sets(*SETTINGS, "num_features", to=2**31 - 1), "do not fit TinyNetwork"),
    "endless channels": (sets(*SETTINGS, "num_features", to=10**30), "very large"),
    "four dimensions": (sets(*SETTINGS, "dimension", to=4), "dimension is '4'"),
    "an unknown variance": (sets(*SETTINGS, "correction", to=3), "correction is '3'"),
    "tensors that the form lacks": (sets(*SETTINGS, "tensors", to=["bias", "x"]), "contradicts"),
    "no tensors": (sets(*SETTINGS, "tensors", to=[]), "do not fit TinyNetwork"),
    "a bias of no module": (sets("created_biases", to=["x.bias"]), "another network"),
    "a bias that is there": (sets("created_biases", to=["fc.bias"]), "does not fit"),
    "a bias of a norm": (sets("created_biases", to=["sn1.weight"]), "does not fit"),
    "a bias without a tensor": (sets("created_biases", to=["conv1.bia"]), "does not fit"),
    "no biases": (sets("created_biases", to=[]), "do not fit TinyNetwork"),
    "an unknown dtype": (sets("dtypes", to={"fc.bias": "object"}), "dtypes is 'object'"),
    "strides of nothing": (sets("strides", to={"x": [1]}), "strides that do not fit 'x'"),
    "strides that overlap": (sets("strides", to={"fc.weight": [1, 1]}), "do not fit 'fc.weight'"),
    "huge strides": (sets("strides", to={"fc.weight": [1, 10**9]}), "do not fit 'fc.weight'"),
    "too many strides": (sets("strides", to={"fc.bias": [1, 1]}), "do not fit 'fc.bias'"),
    "strides of zero": (sets("strides", to={"fc.bias": [0]}), "not positive"),
    "strides of text": (sets("strides", to={"fc.bias": ["1"]}), "no whole number"),
    "another dtype": (sets("dtypes", to={"fc.bias": "float64"}), "not what its plan says"),
    "a condition that is code": (
        sets("size_conditions", to=["__import__('os').system('touch canary')"]),
        "unknown form",
    ),
    "centring constants of text": (sets(*LAYER, "centre", to=["x"]), r"centre\[0\] is no number"),
}


@pytest.mark.parametrize("name", PLANS)
def test_a_plan_that_is_malformed_or_of_another_network(
    name: str, saved: bytes, tmp_path: Path
) -> None:
    change, words = PLANS[name]
    path = tmp_path / "w.safetensors"
    path.write_bytes(with_plan(saved, change))
    with pytest.raises((CheckpointError, KeyMismatchError), match=words) as caught:
        load_pruned(path, TinyNetwork)
    assert caught.value.hint
    assert not (tmp_path / "canary").exists()


def test_the_control_loads(saved: bytes, tmp_path: Path) -> None:
    path = tmp_path / "w.safetensors"
    path.write_bytes(with_plan(saved, lambda _: None))
    assert isinstance(load_pruned(path, TinyNetwork), TinyNetwork)


def without_tensor(content: bytes, name: str) -> bytes:
    header, data = parts(content)
    start, end = header.pop(name)["data_offsets"]
    for key, entry in header.items():
        if key != "__metadata__" and entry["data_offsets"][0] >= end:
            entry["data_offsets"] = [place - (end - start) for place in entry["data_offsets"]]
    return assembled(header, data[:start] + data[end:])


def with_tensor(content: bytes, name: str, dtype: str = "F32", size: int = 4) -> bytes:
    header, data = parts(content)
    offsets = [len(data), len(data) + size]
    header[name] = {"dtype": dtype, "shape": [1], "data_offsets": offsets}
    return assembled(header, data + bytes(size))


def with_entry(content: bytes, name: str, **changes: Any) -> bytes:
    header, data = parts(content)
    header[name] |= changes
    return assembled(header, data)


def with_metadata(content: bytes, **changes: Any) -> bytes:
    header, data = parts(content)
    header["__metadata__"] |= changes
    return assembled(header, data)


def without_plan(content: bytes) -> bytes:
    header, data = parts(content)
    del header["__metadata__"][KEY]
    return assembled(header, data)


FILES: dict[str, tuple[Callable[[bytes], bytes], str]] = {
    "empty": (lambda _: b"", "is empty"),
    "cut off": (lambda content: content[:-1], "cannot be read"),
    "longer": (lambda content: content + b"\0", "cannot be read"),
    "a huge header": (lambda content: (1 << 62).to_bytes(8, "little") + content[8:], "header of"),
    "a header that is no JSON": (lambda _: assembled(b"{", b""), "no valid JSON"),
    "a deep header": (lambda _: assembled(DEEP.encode(), b""), "no valid JSON"),
    "no plan": (without_plan, "holds no pruned weights"),
    "a tensor less": (lambda content: without_tensor(content, "fc.bias"), "fc.bias"),
    "a tensor more": (lambda content: with_tensor(content, "x"), "'x'"),
    "an unknown number": (lambda content: with_tensor(content, "x", "F8_E4M3", 1), "unknown one"),
    "another shape": (lambda content: with_entry(content, "fc.weight", shape=[4, 3]), "fit Tiny"),
    "whole numbers": (lambda content: with_entry(content, "fc.bias", dtype="I32"), "plan says"),
    "half precision": (
        lambda content: with_entry(content, "fc.bias", dtype="F16", shape=[6]),
        "plan says",
    ),
    "another name of a tensor": (lambda content: with_metadata(content, x="fc.bias"), "'x'"),
    "metadata that are numbers": (
        lambda content: with_metadata(content, x=1),
        "not text",
    ),
}


@pytest.mark.parametrize("name", FILES)
def test_a_file_that_is_damaged_or_of_another_network(
    name: str, saved: bytes, tmp_path: Path
) -> None:
    change, words = FILES[name]
    path = tmp_path / "w.safetensors"
    path.write_bytes(change(saved))
    with pytest.raises((CheckpointError, KeyMismatchError), match=words) as caught:
        load_pruned(path, TinyNetwork)
    assert caught.value.hint


def test_a_checkpoint_is_asked_for_where_weights_are_pruned(saved: bytes, tmp_path: Path) -> None:
    path = tmp_path / "w.safetensors"
    path.write_bytes(saved)
    with pytest.raises(CheckpointError, match="pruned already") as caught:
        load_checkpoint(path, arch="helpers:TinyNetwork")
    assert "load_pruned" in str(caught.value.hint)


def test_a_pickle_is_not_read(tmp_path: Path) -> None:
    path = tmp_path / "w.safetensors"
    torch.save({"x": Executes(tmp_path / "canary")}, path)
    with pytest.raises((CheckpointError, UnsafeCheckpointError)):
        load_pruned(path, TinyNetwork)
    assert not (tmp_path / "canary").exists()


OTHER_NETWORKS: dict[str, Callable[[], nn.Module]] = {
    "wider": lambda: TinyNetwork(channels=8),
    "with more classes": lambda: TinyNetwork(num_classes=5),
    "another": lambda: nn.Sequential(nn.Conv2d(1, 4, 3)),
    "with a layer more": lambda: nn.Sequential(TinyNetwork()),
}


@pytest.mark.parametrize("name", OTHER_NETWORKS)
def test_the_code_of_another_network(name: str, saved: bytes, tmp_path: Path) -> None:
    path = tmp_path / "w.safetensors"
    path.write_bytes(saved)
    with pytest.raises((CheckpointError, KeyMismatchError), match="function that builds"):
        load_pruned(path, OTHER_NETWORKS[name])


class Whole(TinyNetwork):
    """Its bias is of whole numbers."""

    def __init__(self) -> None:
        super().__init__()
        del self.fc.bias
        self.fc.register_buffer("bias", torch.zeros(3, dtype=torch.int64))


def test_numbers_of_another_kind(saved: bytes, tmp_path: Path) -> None:
    path = tmp_path / "w.safetensors"
    path.write_bytes(saved)
    with pytest.raises(CheckpointError, match="of another kind"):
        load_pruned(path, Whole)


def test_two_tensors_where_the_network_has_one(tmp_path: Path) -> None:
    class Twice(TinyNetwork):
        def __init__(self, *, tied: bool) -> None:
            super().__init__()
            self.other = nn.Parameter(self.fc.bias.detach().clone())
            if tied:
                self.other = self.fc.bias

    network = Twice(tied=False)
    network.load_state_dict(tiny_network().state_dict(), strict=False)
    path = tmp_path / "w.safetensors"
    save_pruned(prune(network.eval(), torch.randn(2, 1, 8, 8)), path)
    with pytest.raises(CheckpointError, match="are two tensors"):
        load_pruned(path, lambda: Twice(tied=True))


@pytest.mark.parametrize("factory", [None, TinyNetwork(), lambda: None, lambda: TinyNetwork])
def test_a_factory_that_builds_no_network(factory: Any, saved: bytes, tmp_path: Path) -> None:
    path = tmp_path / "w.safetensors"
    path.write_bytes(saved)
    with pytest.raises(ArgumentError, match="builds no network"):
        load_pruned(path, factory)


KNOWN = [
    "L['x'].size()[2] == 8",
    "L['x'].size()[2] % 32 == 0",
    "L['x'][0].size()[2]**2 <= 64",
    "Min(L['x'].size()[2], 4) >= -3 and not L['x'].size()[3] == 1",
    "L['n'] == 3",
]
ENDLESS = [
    "9**9**9 > 0",
    "((2**8)**8)**8 > 0",
    "(L['x'].size()[0] * 2)**8 > 0",
    "2**99 > 0",
    "L['x'].size() * 9999999999 == 0",
    "'a' * 9999999999 == 0",
    "L['x'] * 9999999999 == 0",
    "9" * 5000 + " > 0",
    "(" * 500 + "1" + ")" * 500,
    "-" * 1990 + "1 > 0",
    "L['x'].__class__ == 0",
    "L['x'].size(*[1])[0] == 0",
    "[x for x in L] == 0",
    "lambda: 0",
    "L.size()[0] == 1",
    "int('9') == 9",
    "\0",
    "",
]


@pytest.mark.parametrize("text", KNOWN)
def test_conditions_of_torch_are_known(text: str) -> None:
    require_known(text)


@pytest.mark.parametrize("text", ENDLESS)
def test_conditions_that_are_not_torchs_are_refused_at_once(text: str) -> None:
    start = time.monotonic()
    with pytest.raises(ValueError, match="unknown form"):
        require_known(text)
    assert time.monotonic() - start < 1


def test_a_shape_beyond_any_memory(saved: bytes, tmp_path: Path) -> None:
    header, data = parts(saved)
    name = next(n for n in header if n != "__metadata__")
    header[name]["shape"] = [0, 10**15, 10**15]
    header[name]["data_offsets"] = [header[name]["data_offsets"][0]] * 2
    (tmp_path / "w.safetensors").write_bytes(assembled(header, data))
    with pytest.raises(CheckpointError):
        load_pruned(tmp_path / "w.safetensors", TinyNetwork)


def test_a_surplus_tensor_is_not_read(saved: bytes, tmp_path: Path) -> None:
    header, data = parts(saved)
    size = 1 << 30
    header["surplus"] = {
        "dtype": "F32",
        "shape": [size // 4],
        "data_offsets": [len(data), len(data) + size],
    }
    path = tmp_path / "w.safetensors"
    path.write_bytes(assembled(header, data))
    with path.open("r+b") as file:
        file.truncate(path.stat().st_size + size)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    with pytest.raises(KeyMismatchError, match="do not fit"):
        load_pruned(path, TinyNetwork)
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 1 << 19  # KiB


def test_a_name_of_a_property_does_not_run_it(saved: bytes, tmp_path: Path) -> None:
    class Loud(TinyNetwork):
        @property
        def loud(self) -> nn.Module:
            raise RuntimeError("ran")

    path = tmp_path / "w.safetensors"
    path.write_bytes(with_plan(saved, sets("layers", 0, "name", to="loud")))
    with pytest.raises(CheckpointError):
        load_pruned(path, Loud)


def test_metadata_that_say_the_name_of_a_tensor(tmp_path: Path) -> None:
    pruned = prune(tiny_network(), torch.randn(2, 1, 8, 8))
    path = tmp_path / "w.safetensors"
    notes = {"ssn_prune.preprocessing": "conv1.weight"}
    write_pruned(pruned, path, path, notes)
    load_pruned(path, TinyNetwork)
