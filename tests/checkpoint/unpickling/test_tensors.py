"""Tensors are described as torch.load rebuilds them, in both layouts and every protocol."""

import collections
import io
import pickle
import warnings

import numpy as np
import pytest
import torch
from pickle_checks import (
    ALL_PROTOCOLS,
    DTYPES,
    FakeStorage,
    assert_same,
    no_storage,
    read,
    read_torch,
    sized_storages,
)
from torch import nn

from ssn_prune.checkpoint.stored import DTYPES as SUPPORTED
from ssn_prune.checkpoint.stored import StoredTensor, UnsupportedTensor
from ssn_prune.checkpoint.unpickling import (
    NestedFileError,
    PickleError,
    StorageReference,
    unpickle,
)


class Annotated(torch.Tensor):
    pass


def tensors():
    counting = torch.arange(60.0).reshape(3, 4, 5)
    whole = {
        str(dtype): torch.arange(6).reshape(2, 3).to(dtype)
        for dtype in (getattr(torch, name) for name in SUPPORTED)
    }
    return whole | {
        "scalar": torch.tensor(2.5),
        "empty": torch.empty(0, 3),
        "transposed": counting.permute(2, 0, 1),
        "sliced": counting[1:, ::2, 3],
        "expanded": torch.tensor([7.0]).expand(4, 3),
        "same storage": counting,
        "parameter": nn.Parameter(counting[0].clone()),
        "channels last": torch.arange(24.0)
        .reshape(1, 2, 3, 4)
        .to(memory_format=torch.channels_last),
    }


def assert_describes(ours, theirs):
    assert type(ours) is StoredTensor
    assert f"torch.{ours.dtype}" == str(theirs.dtype)
    assert ours.shape == tuple(theirs.shape)
    assert ours.stride == theirs.stride()
    assert ours.offset == theirs.storage_offset()
    assert ours.numbers() == theirs.flatten().tolist()


@pytest.mark.parametrize("protocol", ALL_PROTOCOLS)
def test_tensors_of_a_zip_file(protocol):
    expected = tensors()
    ours = read_torch(collections.OrderedDict(expected), protocol).text_items()
    assert list(ours) == list(expected)
    for key, value in expected.items():
        assert_describes(ours[key], value)


@pytest.mark.parametrize("protocol", ALL_PROTOCOLS)
def test_tensors_of_a_legacy_file(protocol):
    expected = tensors()
    buffer = io.BytesIO()
    torch.save(expected, buffer, pickle_protocol=protocol, _use_new_zipfile_serialization=False)
    length = buffer.tell()
    buffer.seek(0)
    asked = []

    def find_storage(identity):
        asked.append(identity)
        return sized_storages(identity)

    parts = [unpickle(buffer, find_storage) for _ in range(5)]
    values = [part.value for part in parts]
    assert values[0] == 0x1950A86A20F9469CFC6C
    assert values[1] == 1001
    assert values[2].get("little_endian") is True
    ours = values[3].text_items()
    for key, value in expected.items():
        assert type(ours[key]) is StoredTensor
        assert ours[key].shape == tuple(value.shape)
        assert ours[key].stride == value.stride()
        assert ours[key].offset == value.storage_offset()
    assert {identity[2] for identity in asked} == set(values[4])
    assert {len(identity) for identity in asked} == {6}
    assert {identity[3] for identity in asked} == {"cpu"}
    assert sum(part.end for part in parts) == buffer.tell() < length


@pytest.mark.parametrize("protocol", ALL_PROTOCOLS)
def test_subclasses_and_attributes_are_read_as_the_tensor(protocol):
    tensor = torch.arange(4.0)
    tensor.note = "kept by pickle"
    parameter = nn.Parameter(torch.arange(3.0))
    parameter.note = "kept by pickle"
    for value in (tensor, parameter):
        assert_describes(read_torch([value], protocol)[0], value.detach())


@pytest.mark.parametrize("protocol", ALL_PROTOCOLS)
def test_sizes_are_tuples_and_storages_are_references(protocol):
    content = [torch.Size([2, 3]), torch.Size(), torch.arange(3.0).untyped_storage()]
    size, empty, storage = read_torch(content, protocol)
    assert size == (2, 3)
    assert empty == ()
    assert type(storage) is StorageReference
    assert (storage.dtype, storage.storage.size) == (None, 12)


def unsupported():
    weight = torch.arange(6.0).reshape(2, 3)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield "torch.sparse_coo", weight.to_sparse()
        yield "torch.sparse_csr", weight.to_sparse_csr()
        yield "torch.complex64", weight.to(torch.complex64)
        yield "quantized", torch.quantize_per_tensor(weight, 0.1, 0, torch.qint8)
        yield "nested", torch.nested.nested_tensor([weight[0], weight[1, :2]])
        yield "negated", torch.conj(torch.ones(2, dtype=torch.cfloat)).imag
        yield "meta", weight.to("meta")
        yield "torch.float8_e4m3fn", weight.to(torch.float8_e4m3fn)
        yield "uninitialized", nn.UninitializedParameter()


@pytest.mark.parametrize(("kind", "tensor"), list(unsupported()), ids=lambda v: str(v)[:16])
@pytest.mark.parametrize("protocol", [0, 2, 5])
def test_other_kinds_of_tensors_are_told_by_name(kind, tensor, protocol):
    (ours, plain) = read_torch([tensor, torch.ones(1)], protocol)
    assert type(ours) is UnsupportedTensor
    assert kind in ours.kind
    assert type(plain) is StoredTensor


def rebuild(function, arguments, find_storage=sized_storages):
    """What a call with these arguments gives; a storage stands where they say STORAGE."""
    module, _, name = function.rpartition(".")
    data = b"\x80\x02c" + f"{module}\n{name}\n".encode() + b"("
    for argument in arguments:
        data += argument if isinstance(argument, bytes) else pickle.dumps(argument, 2)[2:-1]
    return read(data + b"tR.", find_storage)


def storage(numbers, kind="FloatStorage"):
    return (
        b"(X\x07\x00\x00\x00storagectorch\n" + kind.encode() + b"\nX\x01\x00\x00\x000"
        b"X\x03\x00\x00\x00cpu" + b"J" + numbers.to_bytes(4, "little") + b"tQ"
    )


FLOAT32 = b"ctorch\nfloat32\n"
HOOKS = b"ccollections\nOrderedDict\n)R"


def test_functions_of_older_and_newer_versions():
    plain = rebuild("torch._utils._rebuild_tensor", [storage(6), 0, (2, 3), (3, 1)])
    assert (plain.dtype, plain.shape, plain.stride, plain.offset) == ("float32", (2, 3), (3, 1), 0)
    third = rebuild(
        "torch._utils._rebuild_tensor_v3",
        [storage(24, "UntypedStorage"), 0, (2, 3), (3, 1), False, HOOKS, FLOAT32],
    )
    assert (third.dtype, third.shape) == ("float32", (2, 3))
    inner = b"ctorch._utils\n_rebuild_tensor\n" + b"(" + storage(2) + b"K\x00K\x02\x85K\x01\x85tR"
    for arguments in ([inner, True, HOOKS], [inner, True, HOOKS, {"note": 1}]):
        name = "_rebuild_parameter" + ("_with_state" if len(arguments) == 4 else "")
        assert rebuild(f"torch._utils.{name}", arguments).shape == (2,)
    assert rebuild("torch.nn.parameter.Parameter", [inner, True]).shape == (2,)


@pytest.mark.parametrize("module", ["torch._tensor", "torch.tensor"])
@pytest.mark.parametrize("name", ["_rebuild_from_type", "_rebuild_from_type_v2"])
def test_a_subclass_is_rebuilt_by_the_function_that_it_names(module, name):
    arguments = b"(" + storage(2) + b"K\x00K\x02\x85K\x01\x85t"
    ours = rebuild(
        f"{module}.{name}",
        [b"ctorch._utils\n_rebuild_tensor\n", b"ctorch\nTensor\n", arguments, {"note": 1}],
    )
    assert ours.shape == (2,)


def test_devices_without_storages_of_their_own():
    array = pickle.dumps(np.arange(3, dtype=np.float32), 2)[2:-1]
    for name in ("_rebuild_device_tensor_from_numpy", "_rebuild_xla_tensor"):
        ours = rebuild(f"torch._utils.{name}", [array, FLOAT32, "xla:0", False])
        assert ours.numbers() == [0.0, 1.0, 2.0]
        other = rebuild(f"torch._utils.{name}", [array, b"ctorch\nbfloat16\n", "xla:0", False])
        assert "bfloat16" in other.kind
    inner = b"ctorch._utils\n_rebuild_tensor\n" + b"(" + storage(2) + b"K\x00K\x02\x85K\x01\x85tR"
    name = "torch._utils._rebuild_device_tensor_from_cpu_tensor"
    assert rebuild(name, [inner, FLOAT32, "hpu:0", False]).shape == (2,)
    assert "float16" in rebuild(name, [inner, b"ctorch\nfloat16\n", "hpu:0", False]).kind


def test_a_wrapper_names_its_class():
    cls = b"ctorch.distributed.tensor\nDTensor\n"
    layout = b"ctorch.serialization\n_get_layout\nX\x0d\x00\x00\x00torch.strided\x85R"
    ours = rebuild(
        "torch._utils._rebuild_wrapper_subclass",
        [cls, FLOAT32, (2,), (1,), 0, layout, "cuda:0", False],
    )
    assert ours.kind == "a tensor of the class torch.distributed.tensor.DTensor"


def test_tensors_before_version_0_2_are_told():
    assert "before version 0.2" in rebuild("torch.FloatTensor", []).kind


@pytest.mark.parametrize(
    "identity",
    [
        "('storage', <class 'torch.FloatStorage'>, '0', 'cuda:0', 6)",
        "('storage', <class 'torch.cuda.FloatStorage'>, '9', 'cpu', 6, None)",
        "('storage', <class 'torch.FloatStorage'>, '9', 'cpu', 6, ('8', 2, 3))",
        "('storage', <class 'torch.FloatStorage'>, '9', 'cpu', 6, ('8, 1', 2, 3))",
    ],
)
def test_persistent_ids_of_protocol_0_are_read_out_of_their_text(identity):
    asked = []
    read(b"P" + identity.encode() + b"\n.", lambda i: asked.append(i) or (FakeStorage(b""), None))
    (found,) = asked
    shown = "(" + ", ".join(f"<class '{v.name}'>" if v is found[1] else repr(v) for v in found)
    assert shown + ")" == identity


V2 = "torch._utils._rebuild_tensor_v2"
REST = [False, HOOKS]


@pytest.mark.parametrize(
    "arguments",
    [
        [],
        [storage(6)],
        ["no storage", 0, (2, 3), (3, 1), *REST],
        [storage(6), -1, (2, 3), (3, 1), *REST],
        [storage(6), 0.0, (2, 3), (3, 1), *REST],
        [storage(6), True, (2, 3), (3, 1), *REST],
        [storage(6), 1, (2, 3), (3, 1), *REST],
        [storage(6), 0, (2, 4), (3, 1), *REST],
        [storage(6), 0, (2, 3), (4, 1), *REST],
        [storage(6), 0, (2, 3), (1 << 62, 1 << 62), *REST],
        [storage(6), 0, (1 << 62, 1 << 62), (1, 1), *REST],
        [storage(6), 0, (1 << 64,), (0,), *REST],
        [storage(6), 0, (2, 3), (3,), *REST],
        [storage(6), 0, (-2, -3), (3, 1), *REST],
        [storage(6), 0, (2, 3), (-3, -1), *REST],
        [storage(6), 5, (2,), (-1,), *REST],
        [storage(6), 0, 6, 1, *REST],
        [storage(6), 0, "23", "31", *REST],
        [storage(6), 0, (1,) * 65, (1,) * 65, *REST],
        [storage(6), 0, (2, 3), (3, 1), *REST, {str(i): True for i in range(9)}],
        [storage(6, "UntypedStorage"), 0, (1,), (1,), *REST],
    ],
    ids=range(21),
)
def test_a_tensor_outside_its_storage_or_without_sense_is_refused(arguments):
    with pytest.raises(PickleError, match="a tensor"):
        rebuild(V2, arguments)


@pytest.mark.parametrize(
    "function",
    [
        *("torch._utils._rebuild_tensor_v3", "torch._utils._rebuild_parameter", "torch.Size"),
        *("torch.serialization._get_layout", "torch._tensor._rebuild_from_type_v2"),
        *("torch._utils._rebuild_device_tensor_from_numpy", "torch.float32", "torch.strided"),
    ],
)
@pytest.mark.parametrize("arguments", [[1], [1, 2, 3, 4, 5, 6, 7, 8]])
def test_wrong_arguments_are_refused(function, arguments):
    with pytest.raises(PickleError) as caught:
        rebuild(function, arguments)
    assert type(caught.value) is PickleError


def test_a_tensor_that_fits_exactly_is_read_and_one_more_element_is_not():
    for numel, stride, offset in ((6, 1, 0), (3, 2, 1), (2, 5, 0), (1, 100, 5), (9, 0, 5)):
        arguments = [storage(6), offset, (numel,), (stride,), *REST]
        assert rebuild(V2, arguments).numel() == numel
        if stride and numel > 1:
            with pytest.raises(PickleError, match="reaches"):
                rebuild(V2, [storage(6), offset, (numel + 1,), (stride,), *REST])
        with pytest.raises(PickleError, match="reaches"):
            rebuild(V2, [storage(6), offset + 6, (numel,), (stride,), *REST])


def test_every_storage_class_of_torch_may_be_named():
    names = {f"{cls.__module__}.{cls.__name__}" for cls in torch._storage_classes}
    assert len(names) > 20
    for name in names:
        data = b"c" + "\n".join(name.rsplit(".", 1)).encode() + b"\n."
        assert read(data).name == name


def test_every_dtype_of_torch_may_be_named():
    dtypes = [value for value in vars(torch).values() if isinstance(value, torch.dtype)]
    assert len(dtypes) > 30
    for dtype in dtypes:
        assert read(f"ctorch\n{str(dtype).removeprefix('torch.')}\n.".encode()).name == str(dtype)


def test_the_fakes_know_the_storages_that_the_files_name():
    assert {name for name in DTYPES if not hasattr(torch, name)} == set()


def test_plain_pickle_of_tensors_is_told():
    with pytest.raises(NestedFileError, match=r"pickle\.dump"):
        read(pickle.dumps({"a": torch.ones(2)}, 2))


def test_other_content_is_as_pickle_gives_it():
    content = {"epoch": 3, "best": 0.5, "names": ["a", "b"], "none": None}
    assert_same(read_torch(content), content)


def test_the_error_of_a_missing_storage_is_passed_on():
    with pytest.raises(AssertionError, match="asked for"):
        rebuild(V2, [storage(6), 0, (2, 3), (3, 1), *REST], no_storage)
