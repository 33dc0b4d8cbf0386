"""Every instruction of every protocol is read as Python reads it, or refused by name."""

import pickle
import pickletools

import pytest
from pickle_checks import assert_same, read

from ssn_prune.checkpoint.unpickling import Inert, PickleError, TooLargeError, TruncatedError
from ssn_prune.checkpoint.unpickling.opcodes import INSTRUCTIONS

REFUSED = {"EXT1", "EXT2", "EXT4", "NEXT_BUFFER", "READONLY_BUFFER"}
# Written by hand; between them they use every instruction that makes plain values.
READ_AS_PYTHON_DOES = [
    b"I0\n.",
    b"I-12\n.",
    b"I00\n.",
    b"I01\n.",
    b"L12345678901234567890L\n.",
    b"L-7\n.",
    b"F1.5\n.",
    b"F-inf\n.",
    b"F1e300\n.",
    b"G\xbf\xf0\x00\x00\x00\x00\x00\x00.",
    b"J\xff\xff\xff\xff.",
    b"K\xff.",
    b"M\xff\xff.",
    b"\x8a\x00.",
    b"\x8a\x02\xff\x7f.",
    b"\x8b\x02\x00\x00\x00\x00\x80.",
    b"Vtext \\u00e9 \xe9 \\U0001f600\n.",
    b"X\x02\x00\x00\x00\xc3\xa9.",
    b"\x8c\x01a.",
    b"\x8d\x01\x00\x00\x00\x00\x00\x00\x00b.",
    b"C\x01\xff.",
    b"B\x01\x00\x00\x00\xff.",
    b"\x8e\x01\x00\x00\x00\x00\x00\x00\x00\xff.",
    b"\x96\x01\x00\x00\x00\x00\x00\x00\x00\xff.",
    b"N.",
    b"\x88.",
    b"\x89.",
    b").",
    b"N\x85.",
    b"NK\x01\x86.",
    b"NNK\x01\x87.",
    b"(K\x01K\x02t.",
    b"(t.",
    b"].",
    b"(K\x01K\x02l.",
    b"]K\x01a.",
    b"](K\x01K\x02e.",
    b"](e.",
    b"}.",
    b"(K\x01K\x02d.",
    b"}K\x01K\x02s.",
    b"}(K\x01K\x02K\x03K\x04u.",
    b"}(u.",
    b"K\x01K\x020.",
    b"K\x01(K\x02K\x031.",
    b"K\x01(0.",
    b"K\x012\x86.",
    b"]p7\n0g7\n.",
    b"]q\x070h\x07.",
    b"]r\x07\x00\x01\x000j\x07\x00\x01\x00.",
    b"]\x94K\x01\x9400h\x00h\x01\x86.",
    b"\x80\x05\x95\x02\x00\x00\x00\x00\x00\x00\x00N..",
    b"c_codecs\nencode\n(Vab\nVlatin1\ntR.",
    b"cbuiltins\ncomplex\n(F1\nF2\ntR.",
    b"\x8c\x08builtins\x8c\x04list\x93)R.",
    b"(cbuiltins\nlist\no.",
    b"(ibuiltins\nlist\n.",
    b"cbuiltins\nlist\n)\x81.",
    b"cbuiltins\ndict\n)}\x92.",
    b"ccollections\nOrderedDict\n)R(K\x01K\x02u.",
]


def test_the_table_has_every_instruction_that_python_knows():
    ours = {code.decode("latin-1"): row.name for code, row in INSTRUCTIONS.items()}
    assert ours == {opcode.code: opcode.name for opcode in pickletools.opcodes}


@pytest.mark.parametrize("data", READ_AS_PYTHON_DOES)
def test_hand_written_pickles(data):
    assert_same(read(data), pickle.loads(data))


def test_the_hand_written_pickles_and_the_refusals_use_every_instruction():
    others = {"STRING", "BINSTRING", "SHORT_BINSTRING"}  # test_python2_text.py
    others |= {"EMPTY_SET", "ADDITEMS", "FROZENSET", "BUILD", "PERSID", "BINPERSID"}  # below
    used = {row[0].name for data in READ_AS_PYTHON_DOES for row in pickletools.genops(data)}
    assert used | others | REFUSED == {opcode.name for opcode in pickletools.opcodes}


@pytest.mark.parametrize("data", [b"\x8f.", b"\x8f(K\x01K\x02\x90.", b"(K\x01\x91."])
def test_sets_are_metadata_that_is_left_unread(data):
    pickle.loads(data)
    value = read(data)
    assert type(value) is Inert
    assert value.name in ("builtins.set", "builtins.frozenset")


@pytest.mark.parametrize(
    ("data", "says"),
    [
        (b"\x82\x01.", "extension"),
        (b"\x83\x01\x00.", "extension"),
        (b"\x84\x01\x00\x00\x00.", "extension"),
        (b"\x97.", "buffer outside"),
        (b"N\x98.", "buffer outside"),
        (b"\x80\x06N.", "protocol 6"),
        (b"\xff", "code 0xff"),
        (b"!", "code 0x21"),
        (b"Ix\n.", "no integer"),
        (b"I1_0\n.", "no integer"),
        (b"I1L\n.", "no integer"),
        (b"L0x1\n.", "no integer"),
        (b"F1.2.3\n.", "no number"),
        (b"V\\u12\n.", "escape"),
        (b"X\x01\x00\x00\x00\xff.", "UTF-8"),
        (b".", "too few"),
        (b"0.", "no mark"),
        (b"1.", "no mark"),
        (b"t.", "no mark"),
        (b"l.", "no mark"),
        (b"d.", "no mark"),
        (b"K\x01\x86.", "too few"),
        (b"K\x01(\x85.", "too few"),
        (b"K\x01(2.", "too few"),
        (b"K\x01(q\x00.", "too few"),
        (b"h\x00.", "nothing is stored"),
        (b"g-1\n.", "nothing is stored"),
        (b"Np-1\n.", "out of range"),
        (b"Np4294967296\n.", "out of range"),
        (b"NN.", "left over"),
        (b"N(N.", "left over"),
        (b"(K\x01d.", "key without its value"),
        (b"}(K\x01u.", "key without its value"),
        (b"NNa.", "takes none"),
        (b"N(Ne.", "takes none"),
        (b"]NNs.", "takes none"),
        (b"](NNu.", "takes none"),
        (b"](N\x90.", "takes none"),
        (b"cbuiltins\nset\n(N\x90.", "takes none"),
        (b"NN\x93.", "no text"),
        (b"\x8c\x01aN\x93.", "no text"),
        (b"N)R.", "no name"),
        (b"cbuiltins\nlist\nNR.", "without arguments"),
        (b"N)\x81.", "no class"),
        (b"cbuiltins\nlist\nN\x81.", "without arguments"),
        (b"(o.", "without its class"),
        (b"NNb.", "takes none"),
        (b"]Nb.", "takes none"),
        (b"cbuiltins\nset\nNb.", "takes none"),
        (b"NQ.", "persistent id"),
        (b"K\x01\x85Q.", "persistent id"),
        (b"\x8c\x04fileN\x86Q.", "something else than a storage"),
        (b"\x8c\x06moduleN\x86Q.", "something else than a storage"),
        (b"Pwhatever\n.", "something else than a storage"),
        (b"P('storage', <class 'torch.FloatStorage'>, '\xff', 'cpu', 4)\n.", "UTF-8"),
        (b"P('storage', <class 'torch.FloatStorage'>, '0', 'cpu', 4.0)\n.", "something else"),
    ],
    ids=repr,
)
def test_what_no_pickler_writes_is_refused_with_its_place(data, says):
    with pytest.raises(PickleError, match=says) as caught:
        read(data)
    assert type(caught.value) is PickleError
    assert caught.value.position is not None
    assert f"at byte {caught.value.position}" in str(caught.value)


def test_an_error_names_the_instruction_and_where_it_starts():
    with pytest.raises(PickleError) as caught:
        read(b"\x80\x02K\x01\x86.")
    assert (caught.value.position, caught.value.instruction) == (4, "TUPLE2")
    assert str(caught.value).endswith("at byte 4 (TUPLE2)")


@pytest.mark.parametrize("protocol", range(6))
def test_a_pickle_that_ends_too_early_is_called_so_at_every_byte(protocol):
    value = {"a": [1, 2.5, 1 << 70, "é", b"x", None, True, (1, 2, 3, 4)], "b" * 300: ["c"] * 20}
    data = pickle.dumps(value, protocol)
    for end in range(len(data)):
        with pytest.raises(TruncatedError):
            read(data[:end])


@pytest.mark.parametrize(
    "data",
    [
        b"L" + b"1" * 701 + b"L\n.",
        b"I" + b"1" * 701 + b"\n.",
        b"F" + b"1" * 701 + b"\n.",
        b"\x8b\x00\x01\x00\x00" + b"\x01" * 256 + b".",
        b"\x8d" + b"\xff" * 8,
        b"\x8e" + b"\xff" * 8,
        b"\x96" + b"\xff" * 8,
        b"X\xff\xff\xff\xff",
        b"B\xff\xff\xff\xff",
        b"T\xff\xff\xff\xff",
        b"V" + b"x" * (17 << 20),
        b"c" + b"x" * 1000 + b"\ny\n.",
        b"\x8c\xff" + b"x" * 255 + b"0" + b"X\xe8\x03\x00\x00" + b"x" * 1000 + b"\x8c\x01y\x93.",
    ],
    ids=lambda data: repr(data[:8]),
)
def test_numbers_texts_and_names_are_bounded(data):
    with pytest.raises(TooLargeError):
        read(data)
