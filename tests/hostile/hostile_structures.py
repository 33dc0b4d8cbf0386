"""Files that would exhaust time, memory or the stack: hashes, sharing, cycles, depth, sizes."""

from __future__ import annotations

import struct
from collections.abc import Iterator

from hostile_case import HARMLESS, READ, REFUSED, TYPED, Case
from legacy_assembly import legacy
from pickle_assembly import (
    APPEND,
    APPENDS,
    BUILD,
    DUP,
    EMPTY_DICT,
    EMPTY_LIST,
    EMPTY_SET,
    EMPTY_TUPLE,
    MARK,
    NONE,
    POP,
    REDUCE,
    SETITEM,
    SETITEMS,
    TRUE,
    TUPLE,
    call,
    get,
    listing,
    mapping,
    name,
    number,
    program,
    put,
    real,
    several,
    text,
)
from sound_content import checkpoint, state_dict
from zip_assembly import zipped

EQUAL_HASHES = (1 << 61) - 1
"""Python hashes integers modulo this, so all its multiples collide in a dict."""
DEPTH = 100_000


def nested_tuples(levels: int) -> bytes:
    """Tuples of two references to the one before: hashing visits 2 ** levels."""
    steps = b"".join(b"2\x86" for _ in range(levels))
    return NONE + steps


def shared_lists(levels: int, width: int = 10) -> bytes:
    """Lists of references to the list before: walking visits width ** levels."""
    body = listing(text("lol")) + put(1000) + POP
    for level in range(levels):
        body += listing(*[get(1000 + level)] * width) + put(1001 + level) + POP
    return body + get(1000 + levels)


def shared_dicts(levels: int, width: int = 10) -> bytes:
    """Like ``shared_lists``, with dicts."""
    body = EMPTY_DICT + put(1000) + POP
    for level in range(levels):
        pairs = [(text(str(i)), get(1000 + level)) for i in range(width)]
        body += mapping(pairs) + put(1001 + level) + POP
    return body + get(1000 + levels)


SLOW_KEYS: dict[str, bytes] = {
    "equal hashes": b"".join(number(i * EQUAL_HASHES) + NONE for i in range(40_000)),
    "equal hashes, negative": b"".join(number(-i * EQUAL_HASHES) + NONE for i in range(40_000)),
    "nested tuples": nested_tuples(60) + NONE,
    "nested tuples as one of many": b"".join(number(i) + NONE for i in range(9)) + nested_tuples(60) + NONE,
    "not-a-number many times": b"".join(real(float("nan")) + NONE for _ in range(40_000)),
    "equal hashes as reals": b"".join(real(float(i * EQUAL_HASHES)) + NONE for i in range(40_000)),
    "lists": listing() + NONE,
    "dicts": EMPTY_DICT + NONE,
    "sets": EMPTY_SET + NONE,
    "None": NONE + NONE,
    "bytes": b"B\x01\0\0\0x" + NONE,
    "large integers": b"".join(number(7**20_000 + i) + NONE for i in range(500)),
    "the same text 200,000 times": (text("k") + NONE) * 200_000,
}  # fmt: skip

VALUES: dict[str, bytes] = {
    "nested tuples": nested_tuples(10_000),
    "shared lists": shared_lists(12),
    "shared lists, many": shared_lists(1_000),
    "shared dicts": shared_dicts(12),
    "shared in a set": EMPTY_SET + MARK + nested_tuples(60) + b"\x90",
    "shared in a frozenset": MARK + nested_tuples(60) + b"\x91",
    "set by call": call(name("builtins", "set"), listing(nested_tuples(60))),
    "frozenset by call": call(name("builtins", "frozenset"), listing(nested_tuples(60))),
    "set of equal hashes": call(name("builtins", "set"), listing(*(number(i * EQUAL_HASHES) for i in range(40_000)))),
    "Counter of equal hashes": call(name("collections", "Counter"), mapping((number(i * EQUAL_HASHES), NONE) for i in range(40_000))),
    "OrderedDict of equal hashes": call(name("collections", "OrderedDict"), listing(*(listing(number(i * EQUAL_HASHES), NONE) for i in range(40_000)))),
    "OrderedDict of nested tuples": call(name("collections", "OrderedDict"), listing(listing(nested_tuples(60), NONE))),
    "a list in itself": EMPTY_LIST + DUP + APPEND,
    "a list in itself by memo": EMPTY_LIST + put(1000) + get(1000) + APPEND,
    "a list in itself, shared": EMPTY_LIST + put(1000) + MARK + get(1000) * 1000 + APPENDS,
    "a dict as its own value": EMPTY_DICT + put(1000) + text("k") + get(1000) + SETITEM,
    "a dict as its own key": EMPTY_DICT + put(1000) + get(1000) + NONE + SETITEM,
    "a tuple in itself": EMPTY_LIST + put(1000) + several(get(1000)) + put(1001) + APPEND + get(1001),
    "two lists in each other": EMPTY_LIST + put(1000) + listing(get(1000)) + APPEND,
    "a set in itself": EMPTY_SET + put(1000) + MARK + get(1000) + b"\x90",
    "an OrderedDict as its own state": call(name("collections", "OrderedDict")) + put(1000) + get(1000) + BUILD,
    "a Namespace as its own state": call(name("argparse", "Namespace")) + put(1000) + mapping([(text("a"), get(1000))]) + BUILD,
    "nested lists": EMPTY_LIST * DEPTH + APPEND * (DEPTH - 1),
    "nested dicts": (EMPTY_DICT + text("k")) * DEPTH + NONE + SETITEM * DEPTH,
    "nested one-tuples": NONE + b"\x85" * DEPTH,
    "nested three-tuples": NONE + (NONE + NONE + b"\x87") * DEPTH,
    "nested calls": name("collections", "OrderedDict") + (put(1000) + EMPTY_TUPLE + REDUCE + POP + get(1000)) * DEPTH,
    "nested OrderedDicts": (name("collections", "OrderedDict") + EMPTY_TUPLE + REDUCE + text("k")) * 20_000 + NONE + SETITEM * 20_000,
    "marks": MARK * DEPTH + TUPLE * DEPTH,
    "marks without end": MARK * DEPTH + NONE,
    "duplicates": NONE + DUP * 300_000 + POP * 300_000,
    "300,000 numbers": listing(*[number(1)] * 300_000),
    "appends one by one": EMPTY_LIST + (NONE + APPEND) * 300_000,
    "300,000 empty dicts": listing(*[EMPTY_DICT] * 300_000),
    "100,000 globals": EMPTY_LIST + MARK + name("torch", "float32") * 100_000 + APPENDS,
    "memo of a million": NONE + b"\x94" * 1_000_000,
    "memo index 2**32 - 1": NONE + put((1 << 32) - 1),
    "memo index 2**31": NONE + put(1 << 31),
    "memo index as text": NONE + b"p99999999999999999999\n",
    "memo index negative": NONE + b"p-1\n",
    "memo index of 100,000 digits": NONE + b"p" + b"9" * 100_000 + b"\n",
    "memo never put": get(123456),
    "memo never put, text": b"g77\n",
    "integer of 100,000 digits": b"I" + b"7" * 100_000 + b"\n",
    "long of 1,000,000 digits": b"L" + b"7" * 1_000_000 + b"L\n",
    "long of 1,000,000 bytes": b"\x8b" + struct.pack("<i", 1_000_000) + b"\x55" * 1_000_000,
    "long of negative length": b"\x8b" + struct.pack("<i", -5) + b"\x55" * 9,
    "long of 2**31 - 1 bytes": b"\x8b" + struct.pack("<i", (1 << 31) - 1) + b"\x55",
    "integer with underscores": b"I1_0\n",
    "integer in Arabic digits": "I٣\n".encode(),
    "integer that is none": b"Ix\n",
    "float of 100,000 digits": b"F" + b"1" * 100_000 + b"\n",
    "float that is none": b"F0x1p3\n",
    "float nan by text": b"Fnan\n",
    "float infinity": real(float("inf")),
    "text that claims 2**32 - 1": b"X\xff\xff\xff\xff",
    "text that claims 2**63": b"\x8d" + struct.pack("<Q", 1 << 63) + b"x",
    "text that claims 2**40": b"\x8d" + struct.pack("<Q", 1 << 40) + b"x",
    "bytes that claim 2**64 - 1": b"\x8e" + struct.pack("<Q", (1 << 64) - 1) + b"x",
    "bytes that claim 2**31": b"B" + struct.pack("<I", 1 << 31) + b"x",
    "bytearray that claims 2**40": b"\x96" + struct.pack("<Q", 1 << 40) + b"x",
    "string that claims -1": b"T" + struct.pack("<i", -1) + b"x",
    "frame of 2**63": b"\x95" + struct.pack("<Q", 1 << 63) + NONE,
    "frame of 0": b"\x95" + struct.pack("<Q", 0) + NONE,
    "frame shorter than a value": b"\x95" + struct.pack("<Q", 2) + text("abc"),
    "frame in a frame": b"\x95" + struct.pack("<Q", 40) + b"\x95" + struct.pack("<Q", 1) + NONE,
    "string without quotes": b"Sabc\n",
    "string with half an escape": b"S'\\x4'\n",
    "string of wild escapes": b"S'" + b"\\777\\u1234\\N{DIGIT ONE}\\x00" + b"'\n",
    "unicode with half an escape": b"V\\u12\n",
    "unicode beyond the last": b"V\\U00110000\n",
    "text in invalid UTF-8": b"X\x02\0\0\0\xff\xfe",
    "a lone surrogate": text("\ud800"),
    "a bytearray of a terabyte": call(name("builtins", "bytearray"), number(1 << 40)),
    "bytes of a terabyte": call(name("builtins", "bytes"), number(1 << 40)),
    "a list of a range": call(name("builtins", "list"), call(name("builtins", "range"), number(1 << 40))),
    "int of a million digits": call(name("builtins", "int"), text("9" * 1_000_000)),
    "a deque with a length": call(name("collections", "deque"), listing(NONE), number(-1)),
    "an array of a terabyte": call(name("numpy.core.multiarray", "_reconstruct"), name("numpy", "ndarray"), several(number(1 << 40)), text("b")),
    "an array of a terabyte, new": call(name("numpy", "ndarray"), several(number(1 << 40), number(1 << 20))),
    "an array with a false state": call(name("numpy._core.multiarray", "_reconstruct"), name("numpy", "ndarray"), several(number(0)), text("b")) + several(number(1), several(number(1 << 40)), call(name("numpy", "dtype"), text("f8")), TRUE, text("x")) + BUILD,
    "a scalar of an object dtype": call(name("numpy.core.multiarray", "scalar"), call(name("numpy", "dtype"), text("O8"), number(0), number(1)), text("x")),
    "a dtype of wild text": call(name("numpy", "dtype"), text("f8," * 100_000)),
    "a date of the year 10**9": call(name("datetime", "datetime"), number(10**9), number(1), number(1)),
    "a date of wild bytes": call(name("datetime", "datetime"), text("\xff" * 10)),
    "a path of 300,000 parts": call(name("pathlib", "PosixPath"), *[text("..")] * 300_000),
    "a Size of wild numbers": call(name("torch", "Size"), listing(number(1 << 70), number(-1))),
    "a Size of text": call(name("torch", "Size"), text("abc")),
    "a device that is none": call(name("torch", "device"), text("cuda:" + "9" * 30)),
    "a device of a number": call(name("torch", "device"), number(1 << 70)),
    "text encoded by an unknown codec": call(name("_codecs", "encode"), text("x"), text("rot13")),
    "text encoded by a path as codec": call(name("_codecs", "encode"), text("x"), text("../../x")),
    "encode of a number": call(name("_codecs", "encode"), number(3), text("latin1")),
    "a complex of text": call(name("builtins", "complex"), text("1e999j")),
    "a slice": call(name("builtins", "slice"), number(0), number(1 << 70), NONE),
}  # fmt: skip

PROGRAMS: dict[str, tuple[str, bytes]] = {
    "nothing": (REFUSED, b""),
    "only a protocol": (REFUSED, b"\x80\x02"),
    "only the end": (REFUSED, b"."),
    "protocol and end": (REFUSED, b"\x80\x02."),
    "protocol 6": (REFUSED, program(checkpoint(), 6)),
    "protocol 255": (REFUSED, program(checkpoint(), 255)),
    "no end": (REFUSED, program(checkpoint())[:-1]),
    "protocol twice": (HARMLESS, b"\x80\x02" + program(checkpoint())),
    "no protocol": (READ, program(checkpoint())[2:]),
    "protocol 0 with later opcodes": (HARMLESS, program(checkpoint(), 0)),
    "values left on the stack": (HARMLESS, program(NONE * 9 + checkpoint())),
    "a mark left on the stack": (HARMLESS, program(MARK + checkpoint())),
    "a second pickle behind": (HARMLESS, program(checkpoint()) * 2),
    "a megabyte of zeros behind": (HARMLESS, program(checkpoint()) + bytes(1 << 20)),
    "None": (REFUSED, program(NONE)),
    "a number": (REFUSED, program(number(7))),
    "a text": (REFUSED, program(text("x"))),
    "a list": (REFUSED, program(listing(state_dict()))),
    "an empty dict": (REFUSED, program(EMPTY_DICT)),
    "a tuple": (REFUSED, program(several(state_dict(), NONE))),
    "a dict of itself": (REFUSED, program(EMPTY_DICT + put(0) + text("state_dict") + get(0) + SETITEM)),
    "a dict of itself under every entry": (
        REFUSED,
        program(EMPTY_DICT + put(0) + MARK + b"".join(text(k) + get(0) for k in ("state_dict", "model", "module", "net", "ema")) + SETITEMS),
    ),
    "100,000 wrappers": (HARMLESS, program((EMPTY_DICT + text("state_dict")) * DEPTH + state_dict() + SETITEM * DEPTH)),
    "entries that all share one": (
        HARMLESS,
        program(state_dict() + put(0) + POP + mapping((text(k), get(0)) for k in ("state_dict", "model", "ema", "model_ema"))),
    ),
    "a hundred thousand entries": (HARMLESS, program(checkpoint(beside=[(text(f"e{i}"), EMPTY_DICT) for i in range(100_000)]))),
    "a key twice": (TYPED, program(state_dict(extra=[(text("n.weight"), NONE)]))),
}  # fmt: skip

STACK_ERRORS: dict[str, bytes] = {
    f"{code:#x} on an empty stack": bytes([code])
    for code in b"a0125bdelostuQR\x81\x85\x86\x87\x90\x91\x92\x93\x94"
}
STACK_ERRORS |= {
    f"{code:#x} on the wrong kind": NONE * 3 + MARK + NONE * 3 + bytes([code])
    for code in b"abesuR\x81\x90\x92\x93"
}
STACK_ERRORS |= {
    "items of an odd number": EMPTY_DICT + MARK + NONE * 3 + SETITEMS,
    "items of a list": EMPTY_LIST + MARK + NONE * 2 + SETITEMS,
    "append to a dict": EMPTY_DICT + NONE + APPEND,
    "append to a tuple": EMPTY_TUPLE + NONE + APPEND,
    "state of a number": number(1) + NONE + BUILD,
    "state of a list": EMPTY_LIST + NONE + BUILD,
    "state of text": text("x") + mapping([(text("a"), NONE)]) + BUILD,
    "a call of text": text("os.system") + EMPTY_TUPLE + REDUCE,
    "a call of a number": number(1) + EMPTY_TUPLE + REDUCE,
    "a call of a list": EMPTY_LIST + EMPTY_TUPLE + REDUCE,
    "a call with a list": name("collections", "OrderedDict") + EMPTY_LIST + REDUCE,
    "a call with None": name("collections", "OrderedDict") + NONE + REDUCE,
    "a call of a call": call(call(name("collections", "OrderedDict"))),
    "a call of a dtype": call(name("torch", "float32"), number(1)),
    "a call of a storage class": call(name("torch", "FloatStorage"), number(1 << 40)),
    "a new object of a list": EMPTY_LIST + EMPTY_TUPLE + b"\x81",
    "INST without a mark": b"icollections\nOrderedDict\n",
    "OBJ without a class": MARK + b"o",
    "persistent id as text": b"Px\n",
    "persistent id of a number": number(3) + b"Q",
    "unknown opcode": b"\xff",
    "unknown opcode, zero": b"\x00",
    "global without an end": b"cos",
}  # fmt: skip


def _beside(index: int, value: bytes) -> bytes:
    beside = [(text("x"), value)]
    if index % 3 == 0:
        return legacy(program(checkpoint(beside=beside, view=NONE)))
    return zipped(program(checkpoint(beside=beside), 2 + index % 4))


def _cases() -> Iterator[Case]:
    for key, items in SLOW_KEYS.items():
        for layout, write in (("zip", zipped), ("legacy", legacy)):
            view = NONE if layout == "legacy" else b""
            beside = [(text("x"), EMPTY_DICT + MARK + items + SETITEMS)]
            yield Case(
                f"structure: keys: {key}, {layout}",
                HARMLESS,
                lambda b=beside, v=view, w=write: w(program(checkpoint(beside=b, view=v))),
            )
        whole = state_dict()[:-1] + items + SETITEMS
        yield Case(
            f"structure: keys: {key}, among the weights",
            HARMLESS,
            lambda w=whole: zipped(program(w)),
        )
    for index, (key, value) in enumerate(VALUES.items()):
        yield Case(f"structure: {key}", HARMLESS, lambda i=index, v=value: _beside(i, v))
    for key, (outcome, whole) in PROGRAMS.items():
        yield Case(f"structure: program: {key}", outcome, lambda w=whole: zipped(w))
    for index, (key, value) in enumerate(STACK_ERRORS.items()):
        yield Case(f"structure: {key}", HARMLESS, lambda i=index, v=value: _beside(i, v))


CASES = tuple(_cases())
