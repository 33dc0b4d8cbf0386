"""Conversions under a default precision or device of the caller, and of networks in others."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from library_networks import FAILING, OneLayer, as_loaded
from process_state import changes, process_state
from torch import Tensor

from ssn_prune import convert, load_checkpoint, prune, random_batches, verify
from ssn_prune.errors import ArchitectureError, ArgumentError, SsnPruneError

SUPPORT = Path(__file__).parents[1] / "support"
X = torch.randn(2, 2, 5, 5, generator=torch.Generator().manual_seed(0))

pytestmark = pytest.mark.usefixtures("own_temporary_folder")


def makes_tensors(model: OneLayer, y: Tensor) -> Tensor:
    """Code of a network that relies on the defaults."""
    return y * torch.ones(3, 1, 1) + torch.arange(0.0, 3.0).reshape(3, 1, 1)


@contextlib.contextmanager
def default_dtype(dtype: torch.dtype) -> Iterator[None]:
    torch.set_default_dtype(dtype)
    try:
        yield
    finally:
        torch.set_default_dtype(torch.float32)


@contextlib.contextmanager
def default_device(device: str) -> Iterator[None]:
    torch.set_default_device(device)
    try:
        yield
    finally:
        torch.set_default_device(None)


@contextlib.contextmanager
def everything_else() -> Iterator[None]:
    with default_dtype(torch.bfloat16), default_device("cpu"), torch.device("meta"):
        yield


DEFAULTS = {
    "float64": lambda: default_dtype(torch.float64),
    "float16": lambda: default_dtype(torch.float16),
    "default device": lambda: default_device("meta"),
    "device in a with": lambda: torch.device("meta"),
    "both": everything_else,
}


@pytest.fixture(scope="module")
def expected(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    """The file of a caller with the usual defaults."""
    path = tmp_path_factory.mktemp("usual") / "expected.onnx"
    convert(as_loaded(OneLayer(then=makes_tensors)), path)
    return path.read_bytes()


@pytest.mark.parametrize("kind", DEFAULTS)
def test_a_caller_with_other_defaults(
    kind: str, expected: bytes, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    torch.save(OneLayer().state_dict(), tmp_path / "c.pth")
    monkeypatch.syspath_prepend(str(SUPPORT))
    model = OneLayer(then=makes_tensors)
    failing = FAILING["capture"][0]()
    with DEFAULTS[kind]():
        before = process_state()
        loaded = load_checkpoint(
            tmp_path / "c.pth", arch="library_networks:OneLayer", input_size=(2, 5, 5)
        )
        convert(loaded, tmp_path / "loaded.onnx")
        convert(as_loaded(model), tmp_path / "m.onnx")
        result = prune(model, X)
        batches = random_batches([(2, 5, 5)], [2, 3])
        assert verify(result, tmp_path / "m.onnx", batches).passed
        with pytest.raises(SsnPruneError):
            convert(as_loaded(failing), tmp_path / "n.onnx")
        assert changes(before, process_state()) == {}
    assert (tmp_path / "m.onnx").read_bytes() == expected


@pytest.mark.parametrize("dtype", [torch.float64, torch.float16])
def test_a_network_in_another_precision_is_named(dtype: torch.dtype, tmp_path: Path) -> None:
    model = OneLayer().to(dtype)
    name = str(dtype).removeprefix("torch.")
    with pytest.raises(ArgumentError, match=f"in {name} on cpu.*in float32 on cpu") as raised:
        convert(as_loaded(model), tmp_path / "m.onnx")
    assert "model.float().cpu()" in str(raised.value.hint)
    convert(as_loaded(model.float().cpu()), tmp_path / "m.onnx")
    with pytest.raises(ArgumentError, match=r"in float32 on cpu.*in float64 on cpu"):
        prune(OneLayer(), X.double())


def without_memory() -> OneLayer:
    """A factory for a network that somebody else is to fill."""
    model = OneLayer()
    return model.to("meta")


def test_a_network_without_memory_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    torch.save(OneLayer().state_dict(), tmp_path / "c.pth")
    monkeypatch.syspath_prepend(str(Path(__file__).parent))
    with pytest.raises(ArchitectureError, match="without memory") as raised:
        load_checkpoint(tmp_path / "c.pth", arch=f"{Path(__file__).stem}:without_memory")
    assert "device('meta')" in str(raised.value.hint)
