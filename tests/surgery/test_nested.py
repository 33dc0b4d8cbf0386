"""Comparing tensors: equal infinities are equal, and NaN is equal to nothing."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from ssn_prune.surgery.nested import max_error, relative_error, undefined_entries

INF, NAN = float("inf"), float("nan")


def of(*values: float) -> Tensor:
    return torch.tensor(values)


@pytest.mark.parametrize("expected", [(-INF, 5.0), (INF, -5.0), (INF, INF), (-INF, INF)])
def test_equal_infinities_are_equal(expected: tuple[float, ...]) -> None:
    finite = [abs(value) for value in expected if abs(value) < INF]
    assert max_error(of(*expected), of(*expected)) == (0.0, max(finite, default=0.0))
    assert relative_error([of(*expected)], [of(*expected)]) == 0.0


def test_the_scale_and_the_error_beside_infinities_are_those_of_the_numbers() -> None:
    error, scale = max_error(of(-INF, 5.5, -1.0), of(-INF, 5.0, -2.0))
    assert (error, scale) == (1.0, 5.0)
    assert relative_error([of(-INF, 5.5)], [of(-INF, 5.0)]) == pytest.approx(0.1)


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ((INF, 1.0), (-INF, 1.0)),
        ((INF, 1.0), (2.0, 1.0)),
        ((2.0, 1.0), (INF, 1.0)),
        ((3e38, 1.0), (INF, 1.0)),
        ((NAN, 1.0), (1.0, 1.0)),
        ((1.0, 1.0), (NAN, 1.0)),
        ((NAN, 1.0), (NAN, 1.0)),
        ((NAN, INF), (INF, INF)),
    ],
)
def test_nothing_else_that_is_not_finite_agrees(
    value: tuple[float, ...], expected: tuple[float, ...]
) -> None:
    assert max_error(of(*value), of(*expected))[0] == INF
    assert relative_error([of(*value)], [of(*expected)]) == INF


def test_entries_that_are_not_a_number_are_counted() -> None:
    assert undefined_entries([of(1.0, INF), torch.tensor([3])]) is None
    assert undefined_entries([of(1.0), of(NAN, 2.0, NAN)]) == "output 1, 2 of 3 entries"
