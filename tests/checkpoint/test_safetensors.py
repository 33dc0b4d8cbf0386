"""The safetensors format: read as its own library reads it, and its lies are refused."""

import json

import pytest
import torch
from safetensors.torch import save_file, save_model
from stored_files import read_all

from ssn_prune.checkpoint.reader import open_checkpoint
from ssn_prune.checkpoint.source import open_weights
from ssn_prune.checkpoint.stored import UnsupportedTensor
from ssn_prune.checkpoint.tensors import to_torch
from ssn_prune.errors import CheckpointError

DTYPES = [
    torch.float64,
    torch.float32,
    torch.float16,
    torch.bfloat16,
    torch.int64,
    torch.int32,
    torch.int16,
    torch.int8,
    torch.uint8,
    torch.bool,
]
ENTRY = {"dtype": "F32", "shape": [2], "data_offsets": [0, 8]}


def raw(tmp_path, header, data=bytes(8), *, length=None):
    """A file with this header, as text or as what becomes JSON."""
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    size = len(text) if length is None else length
    path = tmp_path / "net.safetensors"
    path.write_bytes(size.to_bytes(8, "little") + text + data)
    return path


def refused(path, match=None):
    with pytest.raises(CheckpointError, match=match) as caught:
        read_all(path)
    assert caught.value.expected
    assert caught.value.found
    assert caught.value.hint
    return caught.value


@pytest.mark.parametrize("dtype", DTYPES)
def test_every_dtype_is_read_bit_for_bit(tmp_path, dtype):
    generator = torch.Generator().manual_seed(0)
    values = torch.randn(3, 5, 2, generator=generator) * 10
    tensors = {"x": values.to(dtype), "scalar": torch.ones((), dtype=dtype)}
    # Bytes before others that are wider put these at odd places.
    tensors["a"] = torch.ones(3, dtype=torch.uint8)
    tensors["none"] = torch.empty(0, 3, dtype=dtype)
    save_file(tensors, tmp_path / "net.safetensors")
    found = read_all(tmp_path / "net.safetensors")
    assert found.keys() == tensors.keys()
    for key, value in tensors.items():
        assert found[key].dtype == value.dtype
        assert found[key].shape == value.shape
        assert torch.equal(found[key], value)


def test_other_names_of_a_tensor_share_it(tmp_path):
    model = torch.nn.Sequential(torch.nn.Linear(2, 2), torch.nn.Linear(2, 2))
    model[1].weight = model[0].weight
    save_model(model, str(tmp_path / "net.safetensors"))
    with open_weights(tmp_path / "net.safetensors") as opened:
        assert opened.tensors.keys() == model.state_dict().keys()
        found = to_torch(opened.tensors)
    assert found["0.weight"].data_ptr() == found["1.weight"].data_ptr()
    assert torch.equal(found["1.weight"], model[0].weight)


@pytest.mark.parametrize(
    ("name", "shape", "size"),
    [
        ("F8_E4M3", [8], 8),
        ("F8_E5M2", [4, 2], 8),
        ("U16", [4], 8),
        ("C64", [1], 8),
        ("F4", [16], 8),
    ],
)
def test_a_dtype_that_no_network_has_is_described(tmp_path, name, shape, size):
    path = raw(tmp_path, {"w": {"dtype": name, "shape": shape, "data_offsets": [0, size]}})
    with open_checkpoint(path) as file:
        tensor = file.content.get("w")
    assert isinstance(tensor, UnsupportedTensor)
    assert name in tensor.kind


@pytest.mark.parametrize(
    "change",
    [
        {"dtype": "F64"},
        {"dtype": "F31"},
        {"dtype": None},
        {"dtype": ["F32"]},
        {"shape": [3]},
        {"shape": [2, 0]},
        {"shape": [-2]},
        {"shape": [2.0]},
        {"shape": [True, 2]},
        {"shape": 2},
        {"shape": [1] * 65 + [2]},
        {"shape": [10**15] * 30},
        {"data_offsets": [0, 9]},
        {"data_offsets": [1, 9]},
        {"data_offsets": [8, 0]},
        {"data_offsets": [0]},
        {"data_offsets": [0, 8, 8]},
        {"data_offsets": [0, 10**15]},
        {"data_offsets": [0, 10**400]},
        {"data_offsets": None},
        {"more": 1},
    ],
)
def test_a_false_entry_is_refused(tmp_path, change):
    assert read_all(raw(tmp_path, {"w": ENTRY})).keys() == {"w"}
    refused(raw(tmp_path, {"w": ENTRY | change}))


@pytest.mark.parametrize(
    "header",
    [
        b'{"w": 1}',
        b'{"w": {}}',
        b'{"__metadata__": {"a": 1}}',
        b'{"__metadata__": []}',
        b'{"w": ' + json.dumps(ENTRY).encode() + b', "w": ' + json.dumps(ENTRY).encode() + b"}",
        b'{"w": {"dtype": "F32", "dtype": "F32", "shape": [2], "data_offsets": [0, 8]}}',
        b'{"w": {"dtype": "F32", "shape": [NaN], "data_offsets": [0, 8]}}',
        b'{"w": {"dtype": "F32", "shape": [2e0], "data_offsets": [0, 8]}}',
        b"{" * 9,
        b'{"w":' + b"[" * 200_000,
        b'{"w\xff": {}}',
        b"{} {}",
    ],
)
def test_a_false_header_is_refused(tmp_path, header):
    refused(raw(tmp_path, header), "damaged")


@pytest.mark.parametrize("places", [[[0, 8], [4, 12]], [[0, 8], [0, 8]], [[0, 8], [12, 20]]])
def test_tensors_that_overlap_or_leave_gaps_are_refused(tmp_path, places):
    header = {f"w{i}": ENTRY | {"data_offsets": place} for i, place in enumerate(places)}
    refused(raw(tmp_path, header, bytes(places[-1][1])), "damaged")


@pytest.mark.parametrize("data", [bytes(7), bytes(9)])
def test_a_file_with_other_bytes_than_its_tensors_is_refused(tmp_path, data):
    refused(raw(tmp_path, {"w": ENTRY}, data), "damaged")


@pytest.mark.parametrize("length", [1, 20, 500, 1 << 22, 1 << 40, (1 << 64) - 1])
def test_a_false_length_of_the_header_is_refused(tmp_path, length):
    refused(raw(tmp_path, {"w": ENTRY}, length=length), "damaged")


def test_text_that_cannot_be_printed_is_escaped(tmp_path):
    path = raw(
        tmp_path, b'{"__metadata__": {"note": "\\ud800"}, "w": ' + json.dumps(ENTRY).encode() + b"}"
    )
    with open_checkpoint(path) as file:
        assert file.metadata["note"] == "\\ud800"
