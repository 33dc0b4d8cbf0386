"""A file that is right at the size of the example only is told so."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pytest
import torch

from ssn_prune.errors import InferenceRuntimeError, VerificationError
from ssn_prune.verification.other_sizes import check_every_size
from ssn_prune.verification.reference_outputs import ReferenceOutputs
from ssn_prune.verification.results import RoundingCheck, VerificationReport
from ssn_prune.verification.verify import require_passed

SIZES = (8, 8, 8, 12, 16)
BATCHES = [(torch.zeros(2, 3, size, size),) for size in SIZES]
VALUES = [[torch.full((2,), float(size))] for size in SIZES]
OUTPUTS = ReferenceOutputs(VALUES, (VALUES, VALUES))


def checked(
    wrong: tuple[int, ...], batches: Sequence[tuple[Any, ...]] = BATCHES, *, raises: bool = False
) -> RoundingCheck:
    """Check a file that is wrong, or does not run, at some sizes."""

    def check(some: Sequence[tuple[torch.Tensor, ...]], outputs: ReferenceOutputs) -> RoundingCheck:
        sizes = [batch[0].shape[-1] for batch in some]
        for run in (outputs.exact, *outputs.float32):
            assert [float(values[0][0]) for values in run] == sizes
        off = bool(set(wrong) & set(sizes))
        if off and raises:
            raise InferenceRuntimeError("it does not run", found="a shape")
        return RoundingCheck(not off, float(off), 0.0, 1e-5, 1.0, None, 0, (), None, "y", None)

    count = len(batches)
    outputs = ReferenceOutputs(VALUES[:count], (VALUES[:count],) * 2)
    return check_every_size(check, batches, outputs)


@pytest.mark.parametrize("raises", [False, True])
@pytest.mark.parametrize("wrong", [(12,), (16,), (12, 16)])
def test_other_sizes_are_blamed_if_only_they_are_off(wrong: tuple[int, ...], raises: bool) -> None:
    with pytest.raises(VerificationError, match="but not at other sizes") as caught:
        checked(wrong, raises=raises)
    assert "`dynamic='batch'`" in caught.value.hint
    assert "report" not in caught.value.hint


def test_a_file_that_is_off_everywhere_is_an_ordinary_failure() -> None:
    assert not checked((8, 12)).passed
    assert not checked((8,), BATCHES[:3]).passed
    with pytest.raises(InferenceRuntimeError):
        checked((8, 12), raises=True)
    with pytest.raises(InferenceRuntimeError):
        checked((8,), BATCHES[:3], raises=True)


def test_a_file_that_is_right_passes() -> None:
    assert checked(()).passed
    assert checked((), BATCHES[:3]).passed


def at_batches(wrong: tuple[int, ...], sizes: tuple[int, ...], *, raises: bool = False) -> str:
    """The refusal of a file that is wrong at some batch sizes; "" if there is none."""

    def check(some: Sequence[tuple[torch.Tensor, ...]], _: ReferenceOutputs) -> RoundingCheck:
        off = any(len(batch[0]) in wrong for batch in some)
        if off and raises:
            raise InferenceRuntimeError("it does not run", found="a shape")
        return RoundingCheck(not off, float(off), 0.0, 1e-5, 1.0, None, 0, (), None, "y", None)

    values = [[torch.zeros(size)] for size in sizes]
    batches = [(torch.zeros(size, 3, 8, 8),) for size in sizes]
    try:
        check_every_size(check, batches, ReferenceOutputs(values, (values,)))
    except VerificationError as error:
        return str(error)
    return ""


@pytest.mark.parametrize("raises", [False, True])
def test_a_batch_of_one_is_blamed_if_only_it_is_off(raises: bool) -> None:
    text = at_batches((1,), (1, 2, 3), raises=raises)
    assert "not at 1" in text
    assert "`static_batch=1`" in text
    assert "report" not in text


def test_an_error_of_rounding_is_not_blamed_on_a_size() -> None:
    def check(some: Sequence[tuple[torch.Tensor, ...]], _: ReferenceOutputs) -> RoundingCheck:
        error = 3e-5 if any(len(batch[0]) == 1 for batch in some) else 0.0
        return RoundingCheck(not error, error, 0.0, 1e-5, 1.0, None, 0, (), None, "y", None)

    values = [[torch.zeros(size)] for size in (1, 2, 3)]
    batches = [(torch.zeros(size, 3, 8, 8),) for size in (1, 2, 3)]
    found = check_every_size(check, batches, ReferenceOutputs(values, (values,)))
    assert not found.passed
    with pytest.raises(VerificationError) as caught:
        require_passed(VerificationReport(None, found))
    assert "rounding" in caught.value.hint
    assert "`rounding=False`" in caught.value.hint
    assert "report" not in caught.value.hint


def test_a_batch_of_one_is_not_blamed_for_other_errors() -> None:
    assert at_batches((), (1, 2, 3)) == ""
    assert at_batches((1, 3), (1, 2, 3)) == ""
    assert at_batches((2,), (1, 2, 3)) == ""
    assert at_batches((1,), (1, 1, 1, 1)) == ""
