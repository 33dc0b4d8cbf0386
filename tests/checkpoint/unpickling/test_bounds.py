"""Time and memory are bounded by the budget, whatever the instructions say."""

import pickle
import time
import tracemalloc

import pytest
from pickle_checks import no_storage, read, sized_storages

from ssn_prune.checkpoint.unpickling import Inert, Pairs, PickleError, TooLargeError, unpickle, walk

BUDGET = 4 << 20
PERSISTENT = b"(X\x07\x00\x00\x00storagectorch\nFloatStorage\nX\x01\x00\x00\x000Ncpu"
# A beginning, and what is repeated until the budget is used up.
ENDLESS = {
    "constants": (b"", b"N"),
    "small numbers": (b"", b"K\x07"),
    "numbers": (b"", b"M\x07\x07"),
    "floats": (b"", b"G@\x00\x00\x00\x00\x00\x00\x00"),
    "floats in lines": (b"", b"F1\n"),
    "large integers": (b"", b"\x8a\xff" + b"\x01" * 255),
    "integers in lines": (b"", b"L" + b"9" * 600 + b"L\n"),
    "empty texts": (b"", b"\x8c\x00"),
    "texts of one letter": (b"", b"\x8c\x02\xc3\xa9"),
    "wide texts": (b"", b"\x8c\x84\xf0\x9f\x98\x80" + b"x" * 128),
    "empty bytes": (b"", b"C\x00"),
    "strings": (b"", b"S'\\x41'\n"),
    "lists": (b"", b"]"),
    "mappings": (b"", b"}"),
    "sets": (b"", b"\x8f"),
    "marks": (b"", b"("),
    "nested tuples": (b"N", b"\x85"),
    "nested lists": (b"]", b"]a"),
    "nested mappings": (b"}", b"}}s"),
    "tuples in tuples": (b"", b"(NNt"),
    "doubled tuples": (b"N", b"2\x86"),
    "copied tops": (b"N", b"2"),
    "memo": (b"N", b"\x94"),
    "memo with numbers": (b"N", b"r%b"),
    "growing list": (b"]", b"Na"),
    "growing lists": (b"]", b"(NNNNe"),
    "growing mapping": (b"}", b"NNs"),
    "a list into itself": (b"]q\x00", b"h\x00a"),
    "names": (b"", b"ctorch\nfloat32\n"),
    "unknown names": (b"", b"c%d\nx\n0"),
    "metadata": (b"cargparse\nNamespace\nq\x00", b"h\x00)R"),
    "long names": (b"", b"clightning.A" + b"b" * 900 + b"\nC\n"),
    "members": (b"c__builtin__\ngetattr\nq\x00cm\nMode\n\x8c\x01A\x86q\x01", b"h\x00h\x01R"),
    "other tensors": (
        b"ctorch._utils\n_rebuild_wrapper_subclass\nq\x00clightning.A"
        + b"b" * 900
        + b"\nC\n\x85q\x01",
        b"h\x00h\x01R",
    ),
    "tensors of many axes": (
        b"ctorch._utils\n_rebuild_tensor\nq\x00("
        + PERSISTENT.replace(b"Ncpu", b"X\x03\x00\x00\x00cpuK\x01tQ")
        + b"K\x00("
        + b"K\x01" * 64
        + b"t2tq\x01",
        b"h\x00h\x01R",
    ),
    "storages": (PERSISTENT.replace(b"Ncpu", b"X\x03\x00\x00\x00cpuK\x01tq\x00"), b"h\x00Q"),
    "popped": (b"", b"N0"),
    "popped marks": (b"", b"(0"),
    "dropped lists": (b"", b"](NNNe0"),
    "tuples made again of one list": (
        b"]q\x00(" + b"N" * 3000 + b"e",
        b"0ctorch\nSize\nh\x00\x85R",
    ),
    "bytes made again of one text": (
        b"c_codecs\nencode\nq\x00X\x00\x08\x00\x00" + b"x" * 2048 + b"\x8c\x06latin1\x86q\x01",
        b"h\x00h\x01R",
    ),
    "mappings made again of one": (
        b"ccollections\nOrderedDict\nq\x00}(" + b"NN" * 2000 + b"u\x85q\x01",
        b"h\x00h\x01R",
    ),
    "lists created again of one": (
        b"cbuiltins\nlist\nq\x00](" + b"N" * 3000 + b"e\x85q\x01",
        b"h\x00h\x01\x81",
    ),
    "lists created again by class": (
        b"](" + b"N" * 3000 + b"eq\x010",
        b"(cbuiltins\nlist\nh\x01o",
    ),
    "states searched again": (
        b"cargparse\nNamespace\n)Rq\x00}(" + b"NN" * 5000 + b"uq\x01",
        b"0h\x00h\x01b",
    ),
    "arguments passed again": (
        b"cargparse\nNamespace\nq\x00(" + b"N" * 9000 + b"tq\x01",
        b"0h\x00h\x01R",
    ),
}


def filled(beginning, repeated):
    """A pickle of at least as many instructions as the budget pays for."""
    copies = BUDGET // 64 + 1
    if b"%d" in repeated:
        return beginning + b"".join(repeated % i for i in range(copies))
    if b"%b" in repeated:
        return beginning + b"".join(repeated % i.to_bytes(4, "little") for i in range(copies))
    return beginning + repeated * copies


@pytest.mark.parametrize("name", ENDLESS)
def test_no_instruction_takes_more_memory_than_it_pays_for(name):
    data = filled(*ENDLESS[name])
    tracemalloc.start()
    started = time.process_time()
    try:
        with pytest.raises(TooLargeError, match="memory"):
            unpickle(data, sized_storages, memory=BUDGET)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak < 1.25 * BUDGET
    assert time.process_time() - started < 5  # 2 % of the budget of a real file, traced


LARGE = b"(" + b"N" * 30000
WORK_ON_LARGE_PARTS = {
    "arguments": (b"ccopyreg\n__newobj__\nq\x00" + LARGE + b"tq\x01", b"0h\x00h\x01R"),
    "a state": (b"cargparse\nNamespace\n)Rq\x00}" + LARGE + b"uq\x01", b"0h\x00h\x01b"),
    "a list": (b"cbuiltins\nlist\nq\x00]" + LARGE + b"e\x85q\x01", b"0h\x00h\x01R"),
    "a new list": (b"cbuiltins\nlist\nq\x00]" + LARGE + b"e\x85q\x01", b"0h\x00h\x01\x81"),
    "a mapping": (b"cbuiltins\ndict\nq\x00}" + LARGE + b"u\x85q\x01", b"0h\x00h\x01R"),
}


@pytest.mark.parametrize("name", WORK_ON_LARGE_PARTS)
def test_work_on_a_large_part_is_paid_for_each_time(name):
    beginning, repeated = WORK_ON_LARGE_PARTS[name]
    if name == "arguments":  # the first is the class
        beginning = beginning.replace(b"(", b"(cargparse\nNamespace\n", 1)
    with pytest.raises(TooLargeError, match="memory") as caught:
        unpickle(beginning + repeated * 1000, no_storage, memory=BUDGET)
    assert len(beginning) < caught.value.position < len(beginning) + 100 * len(repeated)


@pytest.mark.parametrize("name", ["floats in lines", "memo", "unknown names", "nested tuples"])
def test_time_grows_with_the_length(name):
    beginning, repeated = ENDLESS[name]
    copies = [repeated % i if b"%d" in repeated else repeated for i in range(20000)]

    def seconds(count):
        data = beginning + b"".join(copies[:count])
        best = 1e9
        for _ in range(3):
            started = time.process_time()
            with pytest.raises(PickleError):
                read(data)
            best = min(best, time.process_time() - started)
        return best

    assert seconds(20000) < 30 * seconds(2000)


def test_what_a_large_real_file_holds_fits():
    value = {"losses": [float(i) for i in range(100_000)], "names": [str(i) for i in range(20_000)]}
    for protocol in (2, 4):
        ours = read(pickle.dumps(value, protocol))
        assert ours.get("losses")[-1] == 99_999.0


@pytest.mark.parametrize("body", [b"\x85", b"\x85\x85", b"]2q\x000", b"}Kx"])
def test_the_depth_that_python_itself_can_pickle_is_read(body):
    deep = None
    for _ in range(400):
        deep = [deep]
    ours = read(pickle.dumps(deep, 2))
    for _ in range(400):
        (ours,) = ours
    assert ours is None


@pytest.mark.parametrize(
    "data",
    [
        b"N" + b"\x85" * 501 + b".",
        b"N" + b"\x85" * 100_000 + b".",
        b"]" * 600 + b"a" * 599 + b".",
        b"}N" * 600 + b"N" + b"s" * 600 + b".",
        b"}" + b"(N" * 600 + b"N" + b"t" * 600 + b"Ns.",
    ],
    ids=["tuples", "100,000 tuples", "lists", "mappings", "keys"],
)
def test_deeper_values_are_refused(data):
    with pytest.raises(TooLargeError, match="500 deep"):
        read(data)


def test_doubled_lists_are_linear():
    # A list of two references to a list of two references ...: 2 ** 200 leaves.
    data = b"]" + b"q\x00]h\x00ah\x00a" * 200 + b"."
    started = time.process_time()
    with pytest.raises(PickleError, match="left over"):
        read(data)
    data = b"N" + b"2\x86" * 200 + b"."
    value = read(data)
    assert sum(1 for _ in walk(value, 1000)) == 401
    assert time.process_time() - started < 1


def test_a_walk_visits_each_container_once_and_stops_at_its_budget():
    shared = ["leaf"]
    value = Pairs(["a", ("b",)], [shared, (shared, shared)])
    shared.append(value)
    visited = list(walk(value, 100))
    assert visited[0] is value
    assert visited.count("leaf") == 1
    assert {"a", "b", "leaf"} <= {item for item in visited if isinstance(item, str)}
    with pytest.raises(TooLargeError, match="too many"):
        list(walk([0] * 100, 100))
    assert len(list(walk([0] * 99, 100))) == 100


def test_a_cycle_is_read_and_walked_once():
    ours = read(b"]q\x00h\x00a.")
    assert ours[0] is ours
    assert len(list(walk(ours, 10))) == 2


def test_keys_are_never_hashed():
    # Equal hashes of nested tuples and of multiples of 2 ** 61 - 1 make a dict take hours.
    colliding = b"".join(b"L" + str(i * (2**61 - 1)).encode() + b"L\nN" for i in range(20_000))
    nested = b"N" + b"2\x86" * 60
    started = time.process_time()
    ours = unpickle(b"}(" + colliding + nested + b"Nu.", no_storage)
    assert time.process_time() - started < 2
    assert ours.value.text_items() == {}
    assert isinstance(read(b"\x8f(" + colliding + b"\x90."), Inert)


def test_large_parts_of_a_stream_that_is_short_take_no_memory():
    tracemalloc.start()
    try:
        with pytest.raises(PickleError):
            read(b"B\x00\x00\x00\x03" + b"x" * 10)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak < 1 << 20
