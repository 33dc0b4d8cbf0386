"""Files whose tensors lie about their storages, sizes, strides and kinds."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from hostile_case import HARMLESS, READ, REFUSED, TYPED, Case
from legacy_assembly import legacy
from pickle_assembly import (
    BINPERSID,
    BUILD,
    EMPTY_DICT,
    EMPTY_TUPLE,
    FALSE,
    NONE,
    ORDERED,
    TRUE,
    call,
    listing,
    mapping,
    name,
    number,
    program,
    real,
    rebuilt,
    several,
    tensor,
    text,
)
from sound_content import STORAGES, checkpoint, state_dict
from zip_assembly import zipped

KEY = "n.weight"  # four float32 in storage "1"
HUGE = 1 << 40

# Arguments for the assembly of one tensor; the true ones are ("1", 4, (4,)).
LIES: dict[str, tuple[str, dict[str, Any]]] = {
    "offset outside": (REFUSED, {"offset": 1}),
    "offset at the end": (REFUSED, {"offset": 4}),
    "offset of 2**62": (REFUSED, {"offset": 1 << 62}),
    "offset of 2**64": (REFUSED, {"offset": 1 << 64}),
    "offset negative": (REFUSED, {"offset": -1}),
    "offset that wraps": (REFUSED, {"offset": (1 << 64) - 4}),
    "shape too large": (REFUSED, {"shape": (5,)}),
    "shape of 2**40": (REFUSED, {"shape": (HUGE,)}),
    "shape that overflows": (REFUSED, {"shape": (1 << 32, 1 << 32)}),
    "shape that overflows to the truth": (REFUSED, {"shape": (1 << 62, 4), "stride": (4, 1)}),
    "shape of 2**100": (REFUSED, {"shape": (1 << 100,)}),
    "shape negative": (REFUSED, {"shape": (-4,)}),
    "shape of two negatives": (REFUSED, {"shape": (-2, -2)}),
    "shape of a thousand axes": (TYPED, {"shape": (1,) * 1000 + (4,)}),
    "shape of a million axes": (TYPED, {"shape": (1,) * 100_000}),
    "shape of no elements": (TYPED, {"shape": (0,)}),
    "shape of no elements and 2**62": (TYPED, {"shape": (0, 1 << 62), "stride": (1, 1)}),
    "stride negative": (REFUSED, {"stride": (-1,), "offset": 3}),
    "stride of 2**62": (REFUSED, {"stride": (1 << 62,)}),
    "stride of 2**63": (REFUSED, {"stride": (1 << 63,)}),
    "stride 0 expanded to 2**40": (REFUSED, {"shape": (HUGE,), "stride": (0,)}),
    "stride 0 expanded to 2**31": (REFUSED, {"shape": (1 << 31,), "stride": (0,)}),
    "strides 0 expanded twice": (REFUSED, {"shape": (1 << 20, 1 << 20), "stride": (0, 0)}),
    "strides that overlap to 2**34": (
        REFUSED,
        {"shape": (2,) * 34, "stride": (0,) * 33 + (1,)},
    ),
    "fewer strides": (REFUSED, {"shape": (2, 2), "stride": (1,)}),
    "more strides": (REFUSED, {"shape": (4,), "stride": (1, 1)}),
    "strides outside": (REFUSED, {"shape": (2, 2), "stride": (3, 1)}),
    "count too large": (REFUSED, {"count": 5}),
    "count too small": (REFUSED, {"count": 3}),
    "count of 0": (REFUSED, {"count": 0}),
    "count of 2**40": (REFUSED, {"count": HUGE}),
    "count of 2**40 and shape": (REFUSED, {"count": HUGE, "shape": (HUGE,)}),
    "count of 2**64": (REFUSED, {"count": 1 << 64}),
    "count negative": (REFUSED, {"count": -4}),
    "storage of doubles": (REFUSED, {"storage": "DoubleStorage"}),
    "storage of halves": (REFUSED, {"storage": "HalfStorage"}),
    "storage of bytes": (REFUSED, {"storage": "ByteStorage"}),
    "storage of complex": (REFUSED, {"storage": "ComplexFloatStorage", "count": 2, "shape": (2,)}),
    "storage of quantized": (REFUSED, {"storage": "QInt32Storage"}),
    "storage of an unknown kind": (REFUSED, {"storage": "WildStorage"}),
    "storage of a class of torch": (REFUSED, {"storage": "Tensor"}),
    "storage of a module of torch": (REFUSED, {"storage": "serialization"}),
    "storage untyped": (HARMLESS, {"storage": "UntypedStorage"}),
    "key that is missing": (REFUSED, {"key": "99"}),
    "key that is a path": (REFUSED, {"key": "../data/1"}),
    "key that is absolute": (REFUSED, {"key": "/etc/hostname"}),
    "key that is empty": (REFUSED, {"key": ""}),
    "key of a letter": (REFUSED, {"key": "x"}),
    "key with NUL": (REFUSED, {"key": "1\0"}),
    "key with a surrogate": (REFUSED, {"key": "\ud800"}),
    "key with another way to write it": (REFUSED, {"key": "01"}),
    "key in other digits": (REFUSED, {"key": "١"}),
    "key of a million letters": (REFUSED, {"key": "1" * 1_000_000}),
    "location on a wild device": (HARMLESS, {"location": "wild:7"}),
    "location cuda": (READ, {"location": "cuda:0"}),
    "location cuda:2**31": (HARMLESS, {"location": f"cuda:{1 << 31}"}),
    "location of a million letters": (HARMLESS, {"location": "c" * 1_000_000}),
    "location with escape sequences": (HARMLESS, {"location": "\x1b[2J"}),
    "location meta": (HARMLESS, {"location": "meta"}),
}  # fmt: skip
TRUE_ARGUMENTS: dict[str, Any] = {"key": "1", "count": 4, "shape": (4,)}


def identity(*items: bytes) -> bytes:
    """A persistent id."""
    return several(*items) + BINPERSID


STORED = identity(text("storage"), name("torch", "FloatStorage"), text("1"), text("cpu"), number(4))
SIZES = (several(number(4)), several(number(1)))
WHOLE = rebuilt(STORED, (4,), (1,), 0)

WRONG_VALUES: dict[str, bytes] = {
    "no arguments": call(name("torch._utils", "_rebuild_tensor_v2")),
    "one argument": call(name("torch._utils", "_rebuild_tensor_v2"), STORED),
    "twenty arguments": call(name("torch._utils", "_rebuild_tensor_v2"), STORED, *[NONE] * 19),
    "storage None": call(name("torch._utils", "_rebuild_tensor_v2"), NONE, number(0), *SIZES, FALSE, ORDERED),
    "storage a tensor": call(name("torch._utils", "_rebuild_tensor_v2"), WHOLE, number(0), *SIZES, FALSE, ORDERED),
    "storage a dict": call(name("torch._utils", "_rebuild_tensor_v2"), EMPTY_DICT, number(0), *SIZES, FALSE, ORDERED),
    "offset None": call(name("torch._utils", "_rebuild_tensor_v2"), STORED, NONE, *SIZES, FALSE, ORDERED),
    "offset real": call(name("torch._utils", "_rebuild_tensor_v2"), STORED, real(0.5), *SIZES, FALSE, ORDERED),
    "offset infinite": call(name("torch._utils", "_rebuild_tensor_v2"), STORED, real(float("inf")), *SIZES, FALSE, ORDERED),
    "shape None": call(name("torch._utils", "_rebuild_tensor_v2"), STORED, number(0), NONE, NONE, FALSE, ORDERED),
    "shape text": call(name("torch._utils", "_rebuild_tensor_v2"), STORED, number(0), text("4"), text("1"), FALSE, ORDERED),
    "shape real": call(name("torch._utils", "_rebuild_tensor_v2"), STORED, number(0), several(real(4.0)), several(number(1)), FALSE, ORDERED),
    "shape of None": call(name("torch._utils", "_rebuild_tensor_v2"), STORED, number(0), several(NONE), several(number(1)), FALSE, ORDERED),
    "shape nested": call(name("torch._utils", "_rebuild_tensor_v2"), STORED, number(0), several(several(number(4))), several(number(1)), FALSE, ORDERED),
    "meta tensor of 2**40": call(name("torch._utils", "_rebuild_meta_tensor_no_storage"), name("torch", "float32"), several(number(HUGE)), several(number(1)), FALSE),
    "meta tensor": call(name("torch._utils", "_rebuild_meta_tensor_no_storage"), name("torch", "float32"), *SIZES, FALSE),
    "sparse tensor of 2**40": call(name("torch._utils", "_rebuild_sparse_tensor"), call(name("torch.serialization", "_get_layout"), text("torch.sparse_coo")), several(WHOLE, WHOLE, several(number(HUGE)))),
    "sparse tensor": call(name("torch._utils", "_rebuild_sparse_tensor"), call(name("torch.serialization", "_get_layout"), text("torch.sparse_coo")), several(WHOLE, WHOLE, several(number(4)))),
    "layout that is none": call(name("torch.serialization", "_get_layout"), text("__class__")),
    "nested tensor": call(name("torch._utils", "_rebuild_nested_tensor"), WHOLE, WHOLE, WHOLE, WHOLE),
    "quantized tensor": call(name("torch._utils", "_rebuild_qtensor"), STORED, number(0), *SIZES, several(name("torch", "per_tensor_affine"), real(1.0), number(0)), FALSE, ORDERED),
    "wrapper subclass": call(name("torch._utils", "_rebuild_wrapper_subclass"), name("os", "system"), name("torch", "float32"), several(number(4)), several(number(1)), number(0), NONE, NONE, FALSE),
    "wrapper of an unknown class": call(name("torch._tensor", "_rebuild_from_type_v2"), name("torch._utils", "_rebuild_tensor_v2"), name("my.own", "Tensor"), several(STORED, number(0), *SIZES, FALSE, ORDERED), EMPTY_DICT),
    "wrapper around a call": call(name("torch._tensor", "_rebuild_from_type_v2"), name("builtins", "eval"), name("torch", "Tensor"), several(text("1")), EMPTY_DICT),
    "parameter of None": call(name("torch._utils", "_rebuild_parameter"), NONE, TRUE, ORDERED),
    "parameter of a parameter": call(name("torch._utils", "_rebuild_parameter"), call(name("torch._utils", "_rebuild_parameter"), NONE, TRUE, ORDERED), TRUE, ORDERED),
    "parameter with wild state": call(name("torch._utils", "_rebuild_parameter_with_state"), EMPTY_DICT, TRUE, ORDERED, EMPTY_DICT),
    "tensor from numpy": call(name("torch._utils", "_rebuild_device_tensor_from_numpy"), EMPTY_DICT, name("torch", "float32"), text("cpu"), FALSE),
    "tensor by its class": call(name("torch", "Tensor"), number(HUGE)),
    "tensor by a constructor": call(name("torch", "zeros"), number(HUGE)),
    "tensor by a storage": call(name("torch", "FloatTensor"), number(HUGE)),
    "storage by a call": call(name("torch", "FloatStorage"), number(HUGE)),
    "a storage as weight": STORED,
    "persistent id empty": identity(),
    "persistent id of one": identity(text("storage")),
    "persistent id module": identity(text("module"), name("my.own", "Net"), text("net.py"), text("source")),
    "persistent id of another word": identity(text("tensor"), name("torch", "FloatStorage"), text("1"), text("cpu"), number(4)),
    "persistent id of None": identity(NONE, NONE, NONE, NONE, NONE),
    "persistent id of lists": identity(text("storage"), listing(), listing(), listing(), listing()),
    "persistent id with a number as key": identity(text("storage"), name("torch", "FloatStorage"), number(1), text("cpu"), number(4)),
    "persistent id with a real count": identity(text("storage"), name("torch", "FloatStorage"), text("1"), text("cpu"), real(4.0)),
    "persistent id text": text("storage") + BINPERSID,
    "state of a tensor": WHOLE + mapping([(text("data"), NONE)]) + BUILD,
    "attribute of a storage": STORED + mapping([(text("_cdata"), number(0))]) + BUILD,
    "a global as weight": name("torch._utils", "_rebuild_tensor_v2"),
    "an array as weight": call(name("numpy.core.multiarray", "_reconstruct"), name("numpy", "ndarray"), several(number(0)), text("b")),
    "a real as weight": real(0.5),
    "None as weight": NONE,
    "a list as weight": listing(*[real(0.5)] * 4),
    "a dict as weight": mapping([(text("weight"), WHOLE)]),
    "hooks on a tensor": call(name("torch._utils", "_rebuild_tensor_v2"), STORED, number(0), *SIZES, FALSE, mapping([(number(0), name("os", "system"))])),
}  # fmt: skip

NOT_FINITE = {
    "NaN": b"\0\0\xc0\x7f" * 4,
    "infinity": b"\0\0\x80\x7f" * 4,
    "signalling NaN": b"\1\0\x80\x7f" * 4,
}
STORAGE_DATA: dict[str, bytes | None] = {
    "missing": None,
    "empty": b"",
    "one byte short": STORAGES["1"][:-1],
    "one element short": STORAGES["1"][:-4],
    "one byte long": STORAGES["1"] + b"x",
    "one element long": STORAGES["1"] + b"xxxx",
    "a megabyte long": STORAGES["1"] + bytes(1 << 20),
}


def _state(value: bytes, layout: str) -> bytes:
    if layout == "zip":
        return zipped(program(checkpoint({KEY: value})))
    return legacy(program(checkpoint({KEY: value}, view=NONE)))


def _cases() -> Iterator[Case]:
    for key, (outcome, lie) in LIES.items():
        for layout in ("zip", "legacy"):
            view = NONE if layout == "legacy" else b""
            arguments = {**TRUE_ARGUMENTS, **lie, "view": view}
            yield Case(
                f"tensor: {key}, {layout}",
                outcome,
                lambda a=arguments, p=layout: _state(tensor(**a), p),
            )
    for index, (key, value) in enumerate(WRONG_VALUES.items()):
        layout = "legacy" if index % 4 == 3 else "zip"
        yield Case(f"tensor: {key}", TYPED, lambda v=value, p=layout: _state(v, p))
    for key, data in NOT_FINITE.items():
        for storage in ("1", "3", "5", "6"):
            storages = {**STORAGES, storage: data[: len(STORAGES[storage])]}
            yield Case(
                f"tensor: {key} in storage {storage}",
                REFUSED,
                lambda s=storages: zipped(storages=s),
            )
    for key, found in STORAGE_DATA.items():
        storages = {k: v for k, v in STORAGES.items() if k != "1"}
        if found is not None:
            storages["1"] = found
        outcome = HARMLESS if "long" in key else REFUSED
        yield Case(f"tensor: storage {key}", outcome, lambda s=storages: zipped(storages=s))
    unused = {**STORAGES, "77": b"x" * 64}
    yield Case("tensor: storage that nobody uses", READ, lambda: zipped(storages=unused))
    twice = tensor("1", 4, (4,), storage="LongStorage")
    yield Case(
        "tensor: one storage of two kinds",
        REFUSED,
        lambda: zipped(program(checkpoint(beside=[(text("x"), twice)]))),
    )
    counts = tensor("1", 2, (2,))
    yield Case(
        "tensor: one storage of two lengths",
        REFUSED,
        lambda: zipped(program(checkpoint(beside=[(text("x"), counts)]))),
    )
    yield Case(
        "tensor: 5,000 of one storage",
        HARMLESS,
        lambda: zipped(program(state_dict(extra=[(text(f"k{i}"), WHOLE) for i in range(5_000)]))),
    )
    yield Case(
        "tensor: expanded to a gigabyte a thousand times",
        REFUSED,
        lambda: zipped(
            program(
                state_dict(
                    extra=[
                        (text(f"k{i}"), rebuilt(STORED, (1 << 28,), (0,), 0)) for i in range(1_000)
                    ]
                )
            )
        ),
    )
    yield Case(
        "tensor: no arguments but a state",
        HARMLESS,
        lambda: zipped(program(checkpoint(beside=[(text("x"), EMPTY_TUPLE + NONE + BUILD)]))),
    )


CASES = tuple(_cases())
