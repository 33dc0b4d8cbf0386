"""Images that are shifted and scaled: all those of a sample alike, or none."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from ssn_prune.images.image_arrays import image_arrays
from ssn_prune.searching.batches import Batches
from ssn_prune.searching.moving import can_move, moved


def images(*size: int) -> Tensor:
    return torch.rand((6, *size), generator=torch.Generator().manual_seed(1))


def at_random(*inputs: Tensor) -> tuple[Tensor, ...]:
    return moved(inputs, 0.1, 0.2, torch.Generator().manual_seed(0))


def test_images_of_a_sample_stay_together() -> None:
    left = images(3, 16, 24)
    depth = left.mean(1, keepdim=True)
    alone, two = at_random(left), at_random(left, depth)
    assert torch.equal(alone[0], two[0])
    assert not torch.equal(two[0], left)
    torch.testing.assert_close(two[0].mean(1, keepdim=True), two[1], rtol=0, atol=1e-6)


@pytest.mark.parametrize("other", [(7,), (5, 16), (3, 4, 16, 24), (8, 24, 24), (1, 8, 12)])
def test_an_image_does_not_move_away_from_what_cannot_move(other: tuple[int, ...]) -> None:
    given = images(3, 16, 24), images(*other)
    for inputs in (given, given[::-1]):
        assert not can_move([tensor.shape for tensor in inputs])
        for before, after in zip(inputs, at_random(*inputs), strict=True):
            assert torch.equal(before, after)


def test_the_inputs_of_a_search_stay_together() -> None:
    x = images(3, 16, 16)
    sizes: list[tuple[int, ...]] = [(3, 16, 16)] * 2
    two = image_arrays("pairs", [x, x.flip(1)], torch.zeros(6).long(), None, sizes)
    one, other = Batches.of(two, range(6), 6, torch.device("cpu"), unfamiliar=True).inputs(0)
    assert torch.equal(one, other.flip(1))
    assert not torch.equal(one, x)
