"""The table of runtimes: plain data that needs no runtime, and names that are checked."""

from __future__ import annotations

import subprocess
import sys

import pytest

from ssn_prune.errors import ArgumentError
from ssn_prune.runtime.backends.table import BACKENDS, ONNX_RUNTIME, backend_of

HEAVY = ("torch", "onnxruntime", *sorted({backend.module for backend in BACKENDS}))


def test_the_table_imports_neither_torch_nor_a_runtime() -> None:
    code = (
        "import sys, ssn_prune.runtime.backends.table, ssn_prune.runtime.backends.running;"
        f"print([name for name in {HEAVY} if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_names_are_unique_and_found() -> None:
    assert len({backend.name for backend in BACKENDS}) == len(BACKENDS)
    assert [backend_of(backend.name) for backend in BACKENDS] == list(BACKENDS)
    assert backend_of("onnxruntime") is ONNX_RUNTIME


@pytest.mark.parametrize("name", ["", "OpenVINO", "cuda"])
def test_an_unknown_name_is_refused_with_those_that_exist(name: str) -> None:
    with pytest.raises(ArgumentError, match="no runtime is called") as caught:
        backend_of(name)
    assert "onnxruntime or openvino" in caught.value.expected
