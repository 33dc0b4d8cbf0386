"""Records as JSON: codes and names instead of numbers, null instead of NaN."""

import enum
import json
import math
from dataclasses import dataclass, field

import pytest

from ssn_prune.json_values import to_json
from ssn_prune.normalizer import Normalizer, NormalizerPair


class Code(enum.StrEnum):
    FIRST = "the_first"


class Number(enum.Enum):
    ONE = 1


@dataclass
class Record:
    value: object
    more: dict = field(default_factory=dict)


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (Normalizer.IN, "IN"),
        (NormalizerPair(Normalizer.LN, Normalizer.BN), {"mean": "LN", "var": "BN"}),
        (Code.FIRST, "the_first"),
        (Number.ONE, "ONE"),
        ({Normalizer.BN: 0.5, 3: None}, {"BN": 0.5, "3": None}),
        ((1, (Normalizer.LN,)), [1, ["LN"]]),
        (math.nan, None),
        (math.inf, None),
        (-math.inf, None),
        (True, True),
        (0, 0),
        (
            Record(Normalizer.IN, {"a": Record(())}),
            {"value": "IN", "more": {"a": {"value": [], "more": {}}}},
        ),
    ],
    ids=str,
)
def test_values(value, expected):
    found = to_json(value)
    assert found == expected
    assert type(found) is type(expected)
    assert json.loads(json.dumps(found, allow_nan=False)) == expected
