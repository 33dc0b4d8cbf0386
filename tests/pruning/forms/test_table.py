"""The table of the nine pairs."""

from __future__ import annotations

import pytest
from networks import BN, IN, LN

from ssn_prune.normalizer import ALL_PAIRS, NormalizerPair
from ssn_prune.pruning.forms.table import FORMS, PAIR_FORMS, form_of


def test_the_table_holds_every_pair_once() -> None:
    assert sorted(PAIR_FORMS) == sorted(ALL_PAIRS)
    assert len(ALL_PAIRS) == 9
    assert set(PAIR_FORMS.values()) < set(FORMS)


def test_every_form_has_a_class_for_each_dimension() -> None:
    for code, form in FORMS.items():
        assert form.code == code
        assert len(form.classes) == 3


@pytest.mark.parametrize(
    ("pair", "positions", "expected"),
    [
        (NormalizerPair(IN, IN), 64, "instance_norm"),
        (NormalizerPair(IN, IN), None, "moments"),
        (NormalizerPair(LN, LN), 64, "moments"),
        (NormalizerPair(BN, BN), None, "batch_norm"),
    ],
)
def test_a_corrected_variance_takes_a_form_that_is_exact_for_it(
    pair: NormalizerPair, positions: int | None, expected: str
) -> None:
    assert form_of(pair, correction=1, positions=positions) == expected
    assert form_of(pair, correction=0, positions=None) == PAIR_FORMS[pair]
