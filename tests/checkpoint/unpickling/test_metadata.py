"""What training scripts store beside the weights is read or left unread, and never refused."""

import argparse
import collections
import datetime
import decimal
import enum
import fractions
import functools
import http
import logging
import pathlib
import pickle
import random
import re
import types
import typing
import uuid
import zoneinfo

import numpy as np
import pytest
import torch
from pickle_checks import ALL_PROTOCOLS, assert_same, read, read_torch

from ssn_prune.checkpoint.unpickling import Inert, Name, NumpyArray, UnsafeGlobalError

PROTOCOLS = pytest.mark.parametrize("protocol", ALL_PROTOCOLS)


class Phase(enum.Enum):
    TRAIN = "train"
    TEST = 2


class Level(enum.IntEnum):
    LOW = 1


class Flags(enum.Flag):
    A = 1
    B = 2


class Setup:
    class Kind(enum.Enum):
        OTHER = None


@PROTOCOLS
@pytest.mark.parametrize(
    "value",
    [
        argparse.Namespace(lr=0.1, inner=argparse.Namespace(a=[1])),
        types.SimpleNamespace(a=1),
        pathlib.PurePosixPath("a/b"),
        pathlib.PureWindowsPath("a/b"),
        pathlib.Path("a"),
        datetime.datetime(2020, 1, 2, tzinfo=datetime.UTC),
        datetime.date(2020, 1, 2),
        datetime.time(3),
        datetime.timedelta(1),
        datetime.timezone(datetime.timedelta(hours=1)),
        zoneinfo.ZoneInfo("UTC"),
        uuid.UUID(int=5),
        decimal.Decimal("1.5"),
        fractions.Fraction(1, 3),
        re.compile("a+"),
        random.Random(3),
        logging.getLogger("training"),
        functools.partial(torch.nn.LayerNorm, eps=1e-6),
        collections.UserDict(a=1),
        collections.ChainMap({"a": 1}),
        slice(1, 2),
        range(3),
        {1, 2},
        frozenset("ab"),
        http.HTTPStatus.OK,
        Phase.TRAIN,
        Phase.TEST,
        Level.LOW,
        Flags.A | Flags.B,
        np.random.default_rng(3),
        np.random.RandomState(3),
        np.datetime64("2020-01-02"),
        np.str_("text"),
        np.bytes_(b"text"),
        np.complex64(1j),
        torch.device("cuda:1"),
        torch.Generator,
        torch.strided,
        torch.float16,
        torch.nn.functional.relu,
        torch.nn.ReLU,
        torch.optim.SGD,
        torch.nn.CrossEntropyLoss(),
        typing.Any,
        np.dtypes.Float64DType,
        torch.torch_version.TorchVersion("2.1.0"),
        list,
        dict,
        int,
        Ellipsis,
    ],
    ids=lambda value: type(value).__name__ if not isinstance(value, int) else None,
)
def test_inert_metadata_beside_plain_values(protocol, value):
    content = read(
        pickle.dumps({"before": 1, "value": value, "again": [value], "after": 2}, protocol)
    )
    assert (content.get("before"), content.get("after")) == (1, 2)
    inert = content.get("value")
    assert isinstance(inert, Inert)
    assert inert.name


@pytest.mark.parametrize("protocol", [4, 5])  # older ones have no names with dots
@pytest.mark.parametrize("value", [Setup.Kind.OTHER, torch.channels_last])
def test_nested_names(protocol, value):
    assert isinstance(read(pickle.dumps([value], protocol))[0], Inert)


def member(kind, value, module="__builtin__"):
    """A pickle of a member of an enumeration, as Python 3.11.2 wrote it, without its end."""
    return f"c{module}\ngetattr\n(c{kind}\nS'{value}'\ntR".encode()


@pytest.mark.parametrize("module", ["__builtin__", "builtins"])
@pytest.mark.parametrize("kind", ["__main__\nPhase", "http\nHTTPStatus"])
def test_an_enumeration_as_python_3_11_2_wrote_it(kind, module):
    assert read(member(kind, "OK", module) + b".").name == kind.replace("\n", ".")


A, B = member("m\nFlags", "A"), member("m\nFlags", "B")


@pytest.mark.parametrize("other", [B, b"I8\n"], ids=["member", "number"])
def test_flags_as_python_3_11_2_wrote_them(other):
    assert read(b"c_operator\nor_\n(" + A + other + b"tR.").name == "m.Flags"


@pytest.mark.parametrize(
    "data",
    [
        b"c__builtin__\ngetattr\n(chttp\nHTTPStatus\nS'a.b'\ntR.",
        b"c__builtin__\ngetattr\n(cos\nenviron\nS'clear'\ntR.",
        b"c_operator\nor_\n(" + A + member("m\nOthers", "A") + b"tR.",
        b"c_operator\nor_\n(cm\nFlags\ncm\nFlags\ntR.",
        b"c_operator\nor_\n(I1\nI2\ntR.",
        b"c_operator\nor_\n(" + A + b"tR.",
        b"c_operator\nand_\n(" + A + B + b"tR.",
    ],
)
def test_no_other_use_of_these_functions_is_taken_for_an_enumeration(data):
    with pytest.raises(UnsafeGlobalError):
        read(data)


def test_a_name_is_told_apart_from_an_object_of_that_class():
    assert type(read(pickle.dumps(argparse.Namespace, 2))) is Name
    assert type(read(pickle.dumps(argparse.Namespace(), 2))) is Inert


@PROTOCOLS
def test_a_whole_optimizer_and_its_schedule(protocol):
    parameter = torch.nn.Parameter(torch.ones(3))
    optimizer = torch.optim.AdamW([parameter], lr=0.1)
    parameter.sum().backward()
    optimizer.step()
    schedule = torch.optim.lr_scheduler.StepLR(optimizer, 2)
    content = {"state": optimizer.state_dict(), "schedule": schedule.state_dict()}
    ours = read_torch(content, protocol)
    assert ours.get("state").get("state").get("step") is None  # keyed by number
    assert ours.get("schedule").get("step_size") == 2
    assert type(read_torch({"whole": optimizer}, protocol).get("whole")) is Inert


@PROTOCOLS
@pytest.mark.parametrize("code", ["f8", "f4", "f2", "i8", "i4", "i2", "i1", "u8", "u4", "u2", "u1"])
def test_numpy_scalars_are_numbers(protocol, code):
    for order in "<>":
        dtype = np.dtype(code).newbyteorder(order)
        for number in (0, 1, 100):
            value = np.array([number], dtype)[0]
            assert_same(read(pickle.dumps([value, value], protocol)), [value.item()] * 2)


def test_numpy_scalars_of_the_other_byte_order():
    dtype = b"cnumpy\ndtype\n(S'%s'\nI0\nI1\ntR(I3\nS'%s'\nNNNI-1\nI-1\nI0\ntb"
    for order in "<>|=":
        for code in ("f8", "f2", "i4", "u2"):
            raw = np.array(3, code).astype(np.dtype(code).newbyteorder(order)).tobytes()
            kind = dtype % (code.encode(), order.encode())
            data = b"cnumpy.core.multiarray\nscalar\n(" + kind + b"C" + bytes([len(raw)]) + raw
            assert read(data + b"tR.") == 3


@PROTOCOLS
def test_numpy_truth_and_special_numbers(protocol):
    content = [np.bool_(True), np.float64("nan"), np.float32("-inf"), np.float16(-0.0)]
    assert_same(read(pickle.dumps(content, protocol)), [value.item() for value in content])


@PROTOCOLS
@pytest.mark.parametrize(
    "array",
    [
        np.arange(6, dtype=np.float32).reshape(2, 3),
        np.arange(6, dtype=">f4").reshape(2, 3),
        np.asfortranarray(np.arange(24.0).reshape(2, 3, 4)),
        np.arange(6, dtype=np.int64)[::2],
        np.array(5, np.uint8),
        np.zeros((0, 3), np.float16),
        np.array([True, False]),
        np.arange(12, dtype=np.int16).reshape(3, 4).T,
    ],
    ids=lambda array: f"{array.dtype}{array.shape}",
)
def test_numpy_arrays_are_described(protocol, array):
    first, second = read(pickle.dumps([array, array], protocol))
    assert first is second
    assert type(first) is NumpyArray
    assert first.tensor.dtype == array.dtype.name
    assert first.tensor.shape == array.shape
    assert first.tensor.numbers() == array.ravel().tolist()


@PROTOCOLS
@pytest.mark.parametrize(
    "array",
    [
        np.array(["a", "bc"]),
        np.array([None, {1: 2}]),
        np.zeros(2, np.complex64),
        np.zeros(2, [("a", "f4"), ("b", "i4")]),
        np.zeros(2, np.uint16),
        np.array(["2020-01-02"], "M8[D]"),
    ],
    ids=lambda array: str(array.dtype),
)
def test_other_numpy_arrays_stay_unread(protocol, array):
    ours = read(pickle.dumps(array, protocol))
    assert type(ours) is NumpyArray
    assert ours.tensor is None


def test_numpy_arrays_as_python_2_wrote_them():
    dtype = b"cnumpy\ndtype\n(S'f4'\nI0\nI1\ntR(I3\nS'<'\nNNNI-1\nI-1\nI0\ntb"
    array = b"cnumpy.core.multiarray\n_reconstruct\n(cnumpy\nndarray\n(I0\ntS'b'\ntR"
    for numbers in ([1.0, -2.5], [0.0, 0.0]):  # these bytes are no UTF-8, and are UTF-8
        raw = np.array(numbers, "<f4").tobytes()
        data = array + b"(I1\n(I2\nt" + dtype + b"I00\nS" + repr(raw)[1:].encode() + b"\ntb."
        assert read(data).tensor.numbers() == numbers
    scalar = b"cnumpy.core.multiarray\nscalar\n(" + dtype + b"S'\\x00\\x00 @'\ntR."
    assert read(scalar) == 2.5


def called(name, arguments=b")"):
    return b"c" + "\n".join(name.rsplit(".", 1)).encode() + b"\n" + arguments


# Class, and how its objects are created: call, NEWOBJ, NEWOBJ_EX, OBJ, INST, copyreg.
TRAINERS = [
    "pytorch_lightning.utilities.parsing.AttributeDict",
    "lightning.fabric.utilities.data.AttributeDict",
    "lightning_fabric.utilities.data.AttributeDict",
    "accelerate.utils.dataclasses.DistributedType",
    "deepspeed.runtime.fp16.loss_scaler.LossScaler",
    "deepspeed.runtime.fp16.loss_scaler.DynamicLossScaler",
    "deepspeed.runtime.zero.config.ZeroStageEnum",
    "deepspeed.utils.tensor_fragment.fragment_address",
    "omegaconf.dictconfig.DictConfig",
    "omegaconf.base.ContainerMetadata",
    "transformers.training_args.TrainingArguments",
    "yacs.config.CfgNode",
    "mmengine.config.config.ConfigDict",
    "easydict.EasyDict",
    "torch.optim.lr_scheduler.StepLR",
    "torch.distributed.fsdp.api.ShardingStrategy",
    "torch.amp.grad_scaler.GradScaler",
]


@pytest.mark.parametrize("name", TRAINERS)
def test_objects_of_trainers_stay_unread_however_they_are_written(name):
    module, _, member = name.rpartition(".")
    cls = called(name, b"")
    state = b"}(X\x01\x00\x00\x00aK\x01ub"
    items = b"(X\x01\x00\x00\x00aK\x01u"
    reconstructor = b"ccopyreg\n_reconstructor\n(" + cls
    stacked = b"\x8c" + bytes([len(module)]) + module.encode()
    stacked += b"\x8c" + bytes([len(member)]) + member.encode() + b"\x93"
    for data in (
        cls + b"K\x01\x85R",
        cls + b")R" + state,
        cls + b")\x81" + state,
        cls + b")\x81" + items + state,
        cls + b")}\x92" + state,
        cls + b")\x81(K\x01K\x02e" + b"K\x03a",
        b"(" + cls + b"o" + state,
        b"(i" + f"{module}\n{member}\n".encode() + state,
        reconstructor + b"cbuiltins\nobject\nNtR" + state,
        reconstructor.replace(b"copyreg", b"copy_reg") + b"c__builtin__\ndict\n}tR" + state,
        b"ccopyreg\n__newobj__\n(" + cls + b"tR" + state,
        stacked + b")\x81" + state,
    ):
        value = read(b"(" + data + b"K\x07t.")
        assert type(value[0]) is Inert
        assert (value[0].name, value[1]) == (name, 7)


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("__builtin__.bytearray", b""),
        ("numpy._core.multiarray._reconstruct", None),
        ("pathlib._local.PosixPath", None),
    ],
)
def test_names_that_moved_between_versions(old, new):
    value = read(called(old) + b"R.")
    assert value == new if new is not None else isinstance(value, Inert | NumpyArray)
