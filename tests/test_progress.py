"""Progress with its times."""

from __future__ import annotations

from ssn_prune.environment import environment
from ssn_prune.progress import StepTimes


def test_steps_are_passed_on_and_timed(monkeypatch) -> None:
    now = iter([1.0, 3.5, 10.0])
    monkeypatch.setattr("time.perf_counter", lambda: next(now))
    seen: list[str] = []
    steps = StepTimes(seen.append)
    steps("loading")
    steps("pruning")
    assert [(s.step, s.seconds) for s in steps.until_now()] == [("loading", 2.5), ("pruning", 6.5)]
    assert seen == ["loading", "pruning"]


def test_the_environment_names_what_a_file_depends_on() -> None:
    found = environment()
    assert {"torch", "onnx", "onnxruntime"} <= set(found.packages)
    assert found.cores >= 1
    assert found == environment()
