"""Plain values come out as Python's own pickle gives them, whatever wrote them."""

import collections
import io
import pickle
import pickletools

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pickle_checks import ALL_PROTOCOLS, assert_same, no_storage, read

from ssn_prune.checkpoint.unpickling import Pairs, unpickle

INTEGERS = st.integers() | st.integers(-(1 << 2000), 1 << 2000)
TEXTS = st.text(st.characters(exclude_categories=("Cs",)))
LEAVES = (
    st.none()
    | st.booleans()
    | INTEGERS
    | st.floats()
    | st.complex_numbers()
    | TEXTS
    | st.binary()
    | st.binary().map(bytearray)
)
KEYS = TEXTS | INTEGERS | st.booleans() | st.binary() | st.tuples(TEXTS, INTEGERS)
VALUES = st.recursive(
    LEAVES,
    lambda inner: (
        st.lists(inner) | st.lists(inner, max_size=4).map(tuple) | st.dictionaries(KEYS, inner)
    ),
)


class PlainPickler(pickle._Pickler):
    """Writes the instructions that the faster pickler leaves out of old protocols or bundles."""

    def memoize(self, value):
        if not isinstance(value, str):
            super().memoize(value)


def written(value, protocol):
    """The same value as several picklers write it."""
    by_c = pickle.dumps(value, protocol)
    yield by_c
    yield pickletools.optimize(by_c)
    buffer = io.BytesIO()
    pickle._Pickler(buffer, protocol).dump(value)
    yield buffer.getvalue()
    buffer = io.BytesIO()
    PlainPickler(buffer, protocol).dump(value)
    yield buffer.getvalue()


@pytest.mark.parametrize("protocol", ALL_PROTOCOLS)
@settings(deadline=None, max_examples=30)
@given(value=VALUES)
def test_plain_values_are_those_of_pickle(protocol, value):
    for data in written(value, protocol):
        assert_same(read(data), pickle.loads(data))


@pytest.mark.parametrize("protocol", ALL_PROTOCOLS)
@pytest.mark.parametrize(
    "value",
    [
        *("\ud800\n\\u0041\\", "a\r\n\x1a\\b", "é\u0101\U0001f600"),
        *(list(range(-2, 2500)), {i: str(i) for i in range(2500)}, "x" * 70000, b"y" * 70000),
        *(1 << 31, -(1 << 31), (1 << 31) - 1, -1, 255, 256, 65535, 65536, -(1 << 63), 1 << 63),
        *(float("inf"), float("-inf"), float("nan"), -0.0, 5e-324, 1.7976931348623157e308),
    ],
    ids=lambda value: repr(value)[:20],
)
def test_values_at_the_ends_of_their_forms(protocol, value):
    for data in written(value, protocol):
        if value == "\ud800\n\\u0041\\":  # a lone surrogate could not be printed
            assert read(data) == "\\ud800\n\\u0041\\"
        else:
            assert_same(read(data), value)


@pytest.mark.parametrize("protocol", ALL_PROTOCOLS)
def test_shared_parts_stay_shared_and_cycles_are_cycles(protocol):
    part = [1]
    whole = {"a": part, "b": (part, part)}
    part.append(whole)
    ours = read(pickle.dumps(whole, protocol))
    inner = ours.get("a")
    assert type(ours) is Pairs
    assert inner[1] is ours
    assert ours.get("b")[0] is inner
    assert ours.get("b")[1] is inner


@pytest.mark.parametrize("protocol", ALL_PROTOCOLS)
@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (collections.OrderedDict(b=1, a=2), {"b": 1, "a": 2}),
        (collections.defaultdict(list, a=[1]), {"a": [1]}),
        (collections.Counter("aab"), {"a": 2, "b": 1}),
        (collections.deque([1, 2], maxlen=5), [1, 2]),
        (collections.deque([3]), [3]),
        (collections.OrderedDict(), {}),
        (bytearray(), b""),
        (b"", b""),
    ],
    ids=repr,
)
def test_containers_of_the_library_become_plain_ones(protocol, value, expected):
    assert_same(read(pickle.dumps(value, protocol)), expected)


def test_the_state_of_a_mapping_is_dropped():
    class_ = collections.OrderedDict(a=1)
    class_._metadata = {"": {"version": 2}}
    assert_same(read(pickle.dumps(class_, 2)), {"a": 1})


def test_a_repeated_key_counts_with_its_last_value():
    pairs = read(b"}(S'a'\nI1\nS'a'\nI2\nI3\nI4\nu.")
    assert pairs.keys == ["a", "a", 3]
    assert pairs.text_items() == {"a": 2}
    assert pairs.get("a") == 2
    assert pairs.get("b") is None


def test_pickles_in_a_row_are_read_one_by_one():
    values = [1, "two", [3.0], {"4": 5}]
    data = b"".join(pickle.dumps(value, protocol) for protocol, value in enumerate(values))
    stream = io.BytesIO(data + b"rest")
    total = 0
    for value in values:
        result = unpickle(stream, no_storage)
        assert_same(result.value, value)
        total += result.end
        assert stream.tell() == total
    assert stream.read() == b"rest"


def test_a_mapping_prints_without_its_content():
    assert repr(read(b"}S'a'\nI1\ns.")) == "<mapping of 1 pairs>"
