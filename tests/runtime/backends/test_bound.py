"""What a file may be off by in a runtime."""

from __future__ import annotations

import pytest

from ssn_prune.runtime.backends.bound import bound_in_runtime


@pytest.mark.parametrize(
    ("twin", "bound"),
    [(0.0, 1e-5), (1e-7, 1e-5), (1e-6, 1e-5), (3e-6, 3e-5), (9e-5, 9e-4), (0.17, 1e-3)],
)
def test_ten_times_the_error_of_the_twin_within_limits(twin: float, bound: float) -> None:
    assert bound_in_runtime(twin) == pytest.approx(bound, rel=1e-12)


@pytest.mark.parametrize("twin", [None, float("inf"), float("nan")])
def test_a_twin_that_does_not_run_excuses_nothing(twin: float | None) -> None:
    assert bound_in_runtime(twin) == 1e-5
