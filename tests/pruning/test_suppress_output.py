"""What torch says while it traces is dropped, and nothing that another thread says."""

from __future__ import annotations

import contextlib
import io
import logging
import sys
import threading
import warnings
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
import torch
from library_networks import OneLayer, as_loaded
from process_state import changes, process_state
from torch import Tensor

from ssn_prune import convert
from ssn_prune.pruning.capture.suppress_output import suppress_tracer_output

pytestmark = pytest.mark.usefixtures("own_temporary_folder")


@contextlib.contextmanager
def suppressed_elsewhere() -> Iterator[None]:
    """Another thread traces for as long as this lasts."""
    inside, end = threading.Event(), threading.Event()

    def trace() -> None:
        with suppress_tracer_output():
            inside.set()
            assert end.wait(60)

    with ThreadPoolExecutor(1) as pool:
        running = pool.submit(trace)
        assert inside.wait(60)
        try:
            yield
        finally:
            end.set()
            running.result()


def say_everything() -> None:
    sys.stdout.write("to stdout\n")
    sys.stderr.write("printed\n")
    logging.getLogger("torch.test").error("logged")
    logging.getLogger("test_suppress_output").error("logged, too")
    warnings.warn("warned", stacklevel=2)


def test_what_the_tracing_thread_says_is_dropped(
    capsys: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture
) -> None:
    before = process_state()
    with suppress_tracer_output(), suppress_tracer_output():
        say_everything()  # the warning would be an error
    assert capsys.readouterr() == ("to stdout\n", "")
    assert caplog.records == []
    assert changes(before, process_state()) == {}


def test_what_another_thread_says_is_heard(
    capsys: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture
) -> None:
    before = process_state()
    with suppressed_elsewhere(), pytest.warns(UserWarning, match="warned"):
        say_everything()
    captured = capsys.readouterr()
    assert captured.out == "to stdout\n"
    assert "printed\n" in captured.err
    assert "logged, too" in caplog.messages
    assert changes(before, process_state()) == {}


def test_filters_of_another_thread_do_not_keep_ours() -> None:
    before = process_state()
    with warnings.catch_warnings():
        with suppressed_elsewhere():
            outer = contextlib.ExitStack()
            outer.enter_context(warnings.catch_warnings())
        outer.close()
        assert changes(before, process_state()) == {}


def test_a_stream_that_another_thread_puts_back_is_the_one_of_the_process(
    capsys: pytest.CaptureFixture[str],
) -> None:
    given = sys.stderr
    with suppressed_elsewhere():
        outer = contextlib.ExitStack()
        own = outer.enter_context(contextlib.redirect_stderr(io.StringIO()))
    sys.stderr.write("own\n")
    outer.close()
    sys.stderr.write("shared\n")
    sys.stderr = given
    assert own.getvalue() == "own\n"
    assert capsys.readouterr().err == "shared\n"


def test_everything_is_put_back_after_an_interrupt() -> None:
    before = process_state()
    with pytest.raises(KeyboardInterrupt), suppress_tracer_output():
        raise KeyboardInterrupt
    assert changes(before, process_state()) == {}


def test_without_standard_error(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stderr", None)
    with suppressed_elsewhere():
        assert sys.stderr.write("nowhere\n")
    assert sys.stderr is None


class Speaks(OneLayer):
    """Lets the main thread speak while it is traced."""

    def __init__(self, speak: Callable[[], None]) -> None:
        super().__init__()
        self.speak = speak

    def forward(self, x: Tensor) -> Tensor:
        if torch.compiler.is_exporting():
            self.speak()
        return super().forward(x)


def test_the_main_thread_speaks_while_a_worker_converts(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture
) -> None:
    asked, answered, spoken = threading.Event(), threading.Event(), 0

    def ask() -> None:
        asked.set()
        assert answered.wait(60)
        answered.clear()

    with ThreadPoolExecutor(1) as pool:
        running = pool.submit(convert, as_loaded(Speaks(ask)), tmp_path / "m.onnx")
        while not running.done():
            if asked.wait(0.01):
                asked.clear()
                spoken += 1
                with pytest.warns(UserWarning, match="warned"):
                    say_everything()
                answered.set()
        running.result()
    assert spoken >= 2
    captured = capsys.readouterr()
    assert captured.out == "to stdout\n" * spoken
    assert captured.err.count("printed\n") == spoken
    assert caplog.messages.count("logged, too") == spoken
