"""The size of one input: what the network states wins over its first convolution."""

from __future__ import annotations

import pytest
from torch import nn

from ssn_prune.checkpoint.input_size import input_size_of

SPACE_TO_DEPTH = nn.Sequential(nn.PixelUnshuffle(2), nn.Conv2d(12, 8, 3))


@pytest.mark.parametrize(
    ("given", "expected"),
    [(None, (3, 32, 32)), ((64,), (3, 64, 64)), ((64, 48), (3, 64, 48)), ((1, 8, 8), (1, 8, 8))],
)
def test_the_stated_channels_win(given: tuple[int, ...] | None, expected: tuple[int, ...]) -> None:
    assert input_size_of(SPACE_TO_DEPTH, given, (3, 32, 32), stated=True) == expected


@pytest.mark.parametrize(("given", "expected"), [(None, (12, 32, 32)), ((64,), (12, 64, 64))])
def test_a_usual_size_takes_the_channels_of_the_first_convolution(
    given: tuple[int, ...] | None, expected: tuple[int, ...]
) -> None:
    assert input_size_of(SPACE_TO_DEPTH, given, (3, 32, 32)) == expected
