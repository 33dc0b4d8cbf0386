"""Kernels are scaled in float64 and cast once, whatever their size and groups."""

from __future__ import annotations

import pytest
import torch

from ssn_prune.pruning.folds import kernel_arithmetic as arithmetic


@pytest.mark.parametrize("block", [1, 5, 40, 10**6])
@pytest.mark.parametrize("groups", [1, 2, 4])
@pytest.mark.parametrize("shape", [(8, 4, 3, 3), (8, 4), (8, 4, 5)])
def test_kernels_are_scaled_in_blocks(
    block: int, groups: int, shape: tuple[int, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(arithmetic, "_BLOCK", block)
    generator = torch.Generator().manual_seed(0)
    kernel, rows, columns = (
        torch.randn(size, generator=generator) for size in (shape, 8, 4 * groups)
    )
    window = [1] * (len(shape) - 2)
    wide = kernel.double()
    by_row = wide * rows.double().view(8, 1, *window)
    of_group = columns.double().view(groups, 4).repeat_interleave(8 // groups, dim=0)
    by_column = wide * of_group.view(8, 4, *window)
    assert torch.equal(arithmetic.scale_output_channels(kernel, rows), by_row)
    narrow = arithmetic.scale_output_channels(kernel, rows, dtype=torch.float32)
    assert torch.equal(narrow, by_row.float())
    transposed = arithmetic.scale_output_channels(kernel, columns, transposed=True, groups=groups)
    assert torch.equal(transposed, by_column)
    assert torch.equal(arithmetic.scale_input_channels(kernel, columns, groups=groups), by_column)
    added = arithmetic.shifted_by_inputs(kernel, columns, groups=groups)
    torch.testing.assert_close(added, by_column.flatten(1).sum(1), rtol=1e-14, atol=1e-14)


@pytest.mark.parametrize("terms", range(8))
def test_a_bias_is_made_only_of_the_terms_that_there_are(terms: int) -> None:
    bias, mean, shift = (
        torch.full((2,), value) if terms & bit else None
        for bit, value in ((1, 3.0), (2, 5.0), (4, 7.0))
    )
    scale = torch.full((2,), 2.0)
    found = arithmetic.folded_bias(bias, mean=mean, scale=scale, shift=shift)
    expected = 2 * (3.0 * bool(terms & 1) - 5.0 * bool(terms & 2)) + 7.0 * bool(terms & 4)
    assert found is None if terms == 0 else found.tolist() == [expected] * 2
