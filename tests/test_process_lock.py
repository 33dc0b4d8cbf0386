"""Conversions from several threads, and in processes that were forked."""

from __future__ import annotations

import multiprocessing
import os
import signal
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from multiprocessing.process import BaseProcess
from pathlib import Path

import numpy as np
import onnxruntime
import pytest
import torch
from library_networks import OneLayer, as_loaded, convert_one_layer
from networks import BN, IN, LN
from process_state import changes, process_state
from torch import Tensor

from ssn_prune import convert
from ssn_prune.errors import CaptureError
from ssn_prune.normalizer import NormalizerPair

pytestmark = pytest.mark.usefixtures("own_temporary_folder")
X = torch.randn(3, 2, 5, 5, generator=torch.Generator().manual_seed(0))
SECONDS = 100.0
"""A child that takes longer hangs."""
FORKS = pytest.mark.filterwarnings("ignore:.*multi-threaded.*fork:DeprecationWarning")
"""Python 3.12 and later warn, since threads of the parent do not exist in the child."""


def error_of(path: Path, model: OneLayer) -> float:
    """The largest difference of a file from its network in float64."""
    session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    (found,) = session.run(None, {"input": X.numpy()})
    with torch.no_grad():
        expected = model.double().eval()(X.double()).numpy()
    return float(np.abs(found - expected).max())


def test_four_threads_give_four_right_files(tmp_path: Path) -> None:
    pairs = [(IN, BN), (BN, BN), (LN, IN), (BN, LN)]
    models = [OneLayer(3 + i, NormalizerPair(*pair)) for i, pair in enumerate(pairs)]
    paths = [tmp_path / f"{i}.onnx" for i in range(4)]
    before = process_state()
    with ThreadPoolExecutor(4) as pool:
        list(pool.map(convert, map(as_loaded, models), paths))
    assert changes(before, process_state()) == {}
    errors = [error_of(path, model) for path, model in zip(paths, models, strict=True)]
    assert max(errors) < 2e-5
    assert error_of(paths[0], OneLayer(3, NormalizerPair(LN, BN))) > 1e-2


def test_networks_run_in_other_threads_meanwhile(tmp_path: Path) -> None:
    model = OneLayer(7).eval()
    with torch.no_grad():
        expected = model(X)
    done, errors = threading.Event(), []

    def run() -> None:
        while not done.wait(0.001):
            with torch.no_grad():
                errors.append(float((model(X) - expected).abs().max()))

    with ThreadPoolExecutor(1) as pool:
        running = pool.submit(run)
        try:
            convert(as_loaded(OneLayer()), tmp_path / "m.onnx")
        finally:
            done.set()
        running.result()
    assert len(errors) > 10
    assert max(errors) < 1e-5
    assert error_of(tmp_path / "m.onnx", OneLayer()) < 2e-5


def forked(work: Callable[[], None]) -> BaseProcess:
    """Run something in a forked child, which must end."""
    child = multiprocessing.get_context("fork").Process(target=work)
    child.start()
    child.join(SECONDS)
    if child.is_alive():
        child.kill()
        child.join()
    return child


@pytest.fixture
def two_threads() -> Iterator[None]:
    """What OpenMP's threads are to do never ends in a forked process, where they do not exist."""
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    yield
    torch.set_num_threads(before)


@pytest.mark.usefixtures("two_threads")
@FORKS
def test_a_forked_process_converts_like_its_parent(tmp_path: Path) -> None:
    first, second = tmp_path / "parent.onnx", tmp_path / "child.onnx"
    convert(as_loaded(OneLayer()), first)
    big = torch.randn(4, 64, 64, 64)
    torch.nn.functional.conv2d(big, torch.randn(64, 64, 3, 3)).exp().sum()

    def work() -> None:
        convert(as_loaded(OneLayer(4)), second)
        assert torch.get_num_threads() == 2

    assert forked(work).exitcode == 0
    assert error_of(second, OneLayer(4)) < 2e-5


class Waits(OneLayer):
    """Stops in the middle of the conversion."""

    reached, resume = threading.Event(), threading.Event()

    def forward(self, x: Tensor) -> Tensor:
        if torch.compiler.is_exporting():
            self.reached.set()
            assert self.resume.wait(SECONDS)
        return super().forward(x)


@pytest.fixture
def _waiting() -> None:
    Waits.reached.clear()
    Waits.resume.clear()


@pytest.mark.usefixtures("_waiting")
@FORKS
def test_a_process_that_was_forked_during_a_conversion_says_so_at_once(tmp_path: Path) -> None:
    def work() -> None:
        start = time.monotonic()
        for _ in range(2):
            with pytest.raises(CaptureError, match="forked in the middle") as raised:
                convert(as_loaded(OneLayer()), tmp_path / "child.onnx")
        assert "spawn" in str(raised.value.hint)
        assert time.monotonic() - start < 5

    with ThreadPoolExecutor(1) as pool:
        running = pool.submit(convert, as_loaded(Waits()), tmp_path / "parent.onnx")
        try:
            assert Waits.reached.wait(SECONDS)
            child = forked(work)
            spawned = multiprocessing.get_context("spawn").Process(
                target=convert_one_layer, args=(str(tmp_path / "spawned.onnx"),)
            )
            spawned.start()
        finally:
            Waits.resume.set()
        running.result()
    assert child.exitcode == 0
    assert error_of(tmp_path / "parent.onnx", OneLayer()) < 2e-5
    spawned.join(SECONDS)
    assert spawned.exitcode == 0
    assert error_of(tmp_path / "spawned.onnx", OneLayer()) < 2e-5
    assert not (tmp_path / "child.onnx").exists()


@pytest.mark.usefixtures("_waiting")
def test_who_waits_for_another_conversion_can_be_interrupted(tmp_path: Path) -> None:
    with ThreadPoolExecutor(1) as pool:
        running = pool.submit(convert, as_loaded(Waits()), tmp_path / "first.onnx")
        try:
            assert Waits.reached.wait(SECONDS)
            threading.Timer(0.3, os.kill, (os.getpid(), signal.SIGINT)).start()
            with pytest.raises(KeyboardInterrupt):
                convert(as_loaded(OneLayer()), tmp_path / "second.onnx")
        finally:
            Waits.resume.set()
        running.result()
    convert(as_loaded(OneLayer()), tmp_path / "second.onnx")
    assert error_of(tmp_path / "second.onnx", OneLayer()) < 2e-5
