"""Safetensors files whose header lies."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

from hostile_case import HARMLESS, READ, REFUSED, TYPED, Case
from safetensors_assembly import DATA, changed, header, safetensors
from sound_content import BYTES

KEY = "n.weight"
SOUND = json.dumps(header())
BEGIN, END = header()[KEY]["data_offsets"]

FIELDS: dict[str, tuple[str, dict[str, Any]]] = {
    "dtype unknown": (REFUSED, {"dtype": "F31"}),
    "dtype None": (REFUSED, {"dtype": None}),
    "dtype a number": (REFUSED, {"dtype": 32}),
    "dtype a list": (REFUSED, {"dtype": ["F32"]}),
    "dtype in small letters": (REFUSED, {"dtype": "f32"}),
    "dtype wider": (REFUSED, {"dtype": "F64"}),
    "dtype narrower": (REFUSED, {"dtype": "F16"}),
    "dtype of eight bits": (REFUSED, {"dtype": "F8_E4M3", "shape": [16]}),
    "dtype of four bits": (REFUSED, {"dtype": "F4", "shape": [32]}),
    "dtype complex": (REFUSED, {"dtype": "C64", "shape": [2]}),
    "dtype of a million letters": (REFUSED, {"dtype": "F" * 1_000_000}),
    "shape negative": (REFUSED, {"shape": [-4]}),
    "shape of two negatives": (REFUSED, {"shape": [-2, -2]}),
    "shape larger": (REFUSED, {"shape": [5]}),
    "shape smaller": (REFUSED, {"shape": [3]}),
    "shape of 2**62": (REFUSED, {"shape": [1 << 62]}),
    "shape of 2**64 + 4": (REFUSED, {"shape": [(1 << 64) + 4]}),
    "shape that overflows": (REFUSED, {"shape": [1 << 32, 1 << 32]}),
    "shape that overflows to the truth": (REFUSED, {"shape": [1 << 62, 4, 1]}),
    "shape of reals": (REFUSED, {"shape": [4.0]}),
    "shape of text": (REFUSED, {"shape": ["4"]}),
    "shape of booleans": (REFUSED, {"shape": [True, 4]}),
    "shape a number": (REFUSED, {"shape": 4}),
    "shape None": (REFUSED, {"shape": None}),
    "shape text": (REFUSED, {"shape": "4"}),
    "shape nested": (REFUSED, {"shape": [[4]]}),
    "shape of 100,000 axes": (TYPED, {"shape": [1] * 100_000 + [4]}),
    "shape of no elements and 2**62": (REFUSED, {"shape": [0, 1 << 62]}),
    "offsets reversed": (REFUSED, {"data_offsets": [END, BEGIN]}),
    "offsets equal": (REFUSED, {"data_offsets": [BEGIN, BEGIN]}),
    "offsets shorter": (REFUSED, {"data_offsets": [BEGIN, END - 4]}),
    "offsets longer": (REFUSED, {"data_offsets": [BEGIN, END + 4]}),
    "offsets of another tensor": (REFUSED, {"data_offsets": [0, 16]}),
    "offsets outside": (REFUSED, {"data_offsets": [len(DATA), len(DATA) + 16]}),
    "offsets of 2**63": (REFUSED, {"data_offsets": [1 << 63, (1 << 63) + 16]}),
    "offsets of 2**64": (REFUSED, {"data_offsets": [(1 << 64) + BEGIN, (1 << 64) + END]}),
    "offsets negative": (REFUSED, {"data_offsets": [-16, 0]}),
    "offsets odd": (REFUSED, {"data_offsets": [BEGIN + 1, END + 1]}),
    "offsets of reals": (REFUSED, {"data_offsets": [float(BEGIN), float(END)]}),
    "offsets of infinity": (REFUSED, {"data_offsets": [BEGIN, float("inf")]}),
    "offsets of text": (REFUSED, {"data_offsets": [str(BEGIN), str(END)]}),
    "offsets of one": (REFUSED, {"data_offsets": [BEGIN]}),
    "offsets of three": (REFUSED, {"data_offsets": [BEGIN, END, END]}),
    "offsets None": (REFUSED, {"data_offsets": None}),
    "a field more": (HARMLESS, {"more": 1}),
}  # fmt: skip

ENTRIES: dict[str, tuple[str, dict[str, Any]]] = {
    "entry None": (REFUSED, {KEY: None}),
    "entry a list": (REFUSED, {KEY: [1]}),
    "entry a text": (REFUSED, {KEY: "x"}),
    "entry empty": (REFUSED, {KEY: {}}),
    "entry of 2**70": (REFUSED, {KEY: 1 << 70}),
    "metadata None": (HARMLESS, {"__metadata__": None}),
    "metadata a list": (REFUSED, {"__metadata__": []}),
    "metadata of numbers": (REFUSED, {"__metadata__": {"a": 1}}),
    "metadata nested": (REFUSED, {"__metadata__": {"a": {"b": "c"}}}),
    "metadata with an empty key": (HARMLESS, {"__metadata__": {"": ""}}),
    "metadata that names a tensor": (HARMLESS, {"__metadata__": {"more": KEY}}),
    "metadata that names itself": (HARMLESS, {"__metadata__": {"more": "more"}}),
    "metadata that names a tensor by its own key": (HARMLESS, {"__metadata__": {KEY: "n.bias"}}),
    "metadata with 100,000 keys": (HARMLESS, {"__metadata__": {f"k{i}": "v" for i in range(100_000)}}),
    "metadata of 30,000 names of a tensor": (HARMLESS, {"__metadata__": {f"k{i}": KEY for i in range(30_000)}}),
    "metadata of a megabyte": (HARMLESS, {"__metadata__": {"a": "v" * (1 << 20)}}),
    "metadata with escape sequences": (HARMLESS, {"__metadata__": {"arch": "\x1b[2J\x1b[31m", "\x1b[2J": "x"}}),
    "metadata with markup": (HARMLESS, {"__metadata__": {"arch": "[/b]", "[red]": "[/]"}}),
    "metadata with surrogates": (HARMLESS, {"__metadata__": {"arch": "\ud800", "\udcff": "x"}}),
    "metadata with a hostile architecture": (HARMLESS, {"__metadata__": {"arch": "os:system"}}),
    "tensor of no elements": (TYPED, {"more": {"dtype": "F32", "shape": [0], "data_offsets": [len(DATA), len(DATA)]}}),
    "30,000 tensors of no elements": (TYPED, {f"k{i}": {"dtype": "F32", "shape": [0], "data_offsets": [len(DATA), len(DATA)]} for i in range(30_000)}),
    "30,000 tensors of one place": (REFUSED, {f"k{i}": {"dtype": "F32", "shape": [4], "data_offsets": [0, 16]} for i in range(30_000)}),
    "a tensor over all others": (REFUSED, {"more": {"dtype": "U8", "shape": [len(DATA)], "data_offsets": [0, len(DATA)]}}),
}  # fmt: skip

TEXTS: dict[str, tuple[str, bytes]] = {
    "empty": (REFUSED, b""),
    "an empty dict": (REFUSED, b"{}"),
    "a list": (REFUSED, b"[]"),
    "null": (REFUSED, b"null"),
    "a text": (REFUSED, b'"x"'),
    "cut": (REFUSED, SOUND[:-9].encode()),
    "followed by more": (REFUSED, SOUND.encode() + b"{}"),
    "followed by NUL": (HARMLESS, SOUND.encode() + b"\0\0\0"),
    "a key twice": (REFUSED, (SOUND[:-1] + f', "{KEY}": {json.dumps(header()["n.bias"])}}}').encode()),
    "a key twice, the same": (REFUSED, (SOUND[:-1] + f', "{KEY}": {json.dumps(header()[KEY])}}}').encode()),
    "a field twice": (REFUSED, SOUND.replace('"shape": [4]', '"shape": [1], "shape": [4]', 1).encode()),
    "metadata twice": (HARMLESS, ('{"__metadata__": {}, "__metadata__": {},' + SOUND[1:]).encode()),
    "100,000 open lists": (REFUSED, b'{"a":' + b"[" * 100_000),
    "100,000 nested lists": (REFUSED, b'{"a":' + b"[" * 100_000 + b"]" * 100_000 + b"}"),
    "100,000 nested dicts": (REFUSED, b'{"a":' * 100_000 + b"1" + b"}" * 100_000),
    "NaN": (REFUSED, SOUND.replace("[4]", "[NaN]", 1).encode()),
    "infinity": (REFUSED, SOUND.replace("[4]", "[Infinity]", 1).encode()),
    "an integer of 100,000 digits": (REFUSED, SOUND.replace("[4]", f"[{'9' * 100_000}]", 1).encode()),
    "a real of 100,000 digits": (REFUSED, SOUND.replace("[4]", f"[{'9' * 100_000}.5]", 1).encode()),
    "1e999": (REFUSED, SOUND.replace("[4]", "[1e999]", 1).encode()),
    "-0": (REFUSED, SOUND.replace(f"[0, {END - BEGIN}]", f"[-0, {END}]", 1).replace("[4]", "[-4]", 1).encode()),
    "invalid UTF-8": (REFUSED, SOUND.encode().replace(b"n.weight", b"n.w\xffight")),
    "a byte order mark": (REFUSED, b"\xef\xbb\xbf" + SOUND.encode()),
    "in UTF-16": (REFUSED, SOUND.encode("utf-16")),
    "blanks before": (HARMLESS, b" " * 1000 + SOUND.encode()),
    "a megabyte of blanks behind": (HARMLESS, SOUND.encode() + b" " * (1 << 20)),
    "single quotes": (REFUSED, SOUND.replace('"', "'").encode()),
    "a comment": (REFUSED, b"{/* */" + SOUND[1:].encode()),
    "a comma too many": (REFUSED, SOUND[:-1].encode() + b",}"),
    "a wild escape": (REFUSED, SOUND.replace("n.weight", "n.\\weight").encode()),
    "a control character": (REFUSED, SOUND.replace("n.weight", "n.\nweight").encode()),
    "a key with a surrogate": (TYPED, SOUND.replace("c.weight", "c.\\ud800").encode()),
    "a key with escape sequences": (TYPED, SOUND.replace("c.weight", "c.\\u001b[2J").encode()),
    "a key with markup": (TYPED, SOUND.replace("n.", "[/b]n.").encode()),
    "a key of a million letters": (TYPED, SOUND.replace("c.weight", "c" * 1_000_000).encode()),
    "a key that is empty": (TYPED, SOUND.replace("c.weight", "").encode()),
}  # fmt: skip

WHOLE: dict[str, tuple[str, bytes]] = {
    "sound": (READ, safetensors()),
    "data one byte short": (REFUSED, safetensors(data=DATA[:-1])),
    "data missing": (REFUSED, safetensors(data=b"")),
    "data one byte long": (REFUSED, safetensors(data=DATA + b"x")),
    "a megabyte behind": (REFUSED, safetensors(data=DATA + bytes(1 << 20))),
    "a hole in the data": (
        REFUSED,
        safetensors({"n._extra_state": {"dtype": "I64", "shape": [4], "data_offsets": [len(DATA), len(DATA) + 32]}}, data=DATA + bytes(32)),
    ),
    "header only": (REFUSED, safetensors()[: -len(DATA)]),
    "eight bytes only": (REFUSED, safetensors()[:8]),
    "nine bytes only": (REFUSED, safetensors()[:9]),
    "NaN in a gate": (REFUSED, safetensors(data=DATA.replace(BYTES["n.bias"], b"\0\0\xc0\x7f" * 4))),
}  # fmt: skip


def _cases() -> Iterator[Case]:
    for key, (outcome, fields) in FIELDS.items():
        yield Case(f"safetensors: {key}", outcome, lambda f=fields: changed(KEY, **f))
    for key, (outcome, entries) in ENTRIES.items():
        yield Case(f"safetensors: {key}", outcome, lambda e=entries: safetensors(e))
    for key, (outcome, text) in TEXTS.items():
        yield Case(f"safetensors: text: {key}", outcome, lambda t=text: safetensors(text=t))
    for key, (outcome, whole) in WHOLE.items():
        yield Case(f"safetensors: {key}", outcome, lambda w=whole: w)
    for length in (0, 1, 2, 7, 100, 10_000, 1 << 31, 1 << 32, 1 << 40, 1 << 63, (1 << 64) - 1):
        outcome = REFUSED
        yield Case(
            f"safetensors: header of {length} bytes",
            outcome,
            lambda n=length: safetensors(length=n),
        )
    for field in ("dtype", "shape", "data_offsets"):
        without = {k: v for k, v in header()[KEY].items() if k != field}
        yield Case(f"safetensors: no {field}", REFUSED, lambda w=without: safetensors({KEY: w}))


CASES = tuple(_cases())
