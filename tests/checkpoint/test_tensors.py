"""Tensors in memory are those of the file: values, views, sharing and alignment."""

import math

import pytest
import torch
from stored_files import read_all

from ssn_prune.checkpoint.reader import open_checkpoint
from ssn_prune.checkpoint.stored import StoredTensor
from ssn_prune.checkpoint.tensors import to_torch
from ssn_prune.checkpoint.weights import extract_weights
from ssn_prune.errors import CheckpointError

DTYPES = [torch.float64, torch.float32, torch.float16, torch.bfloat16]
DTYPES += [torch.int64, torch.int32, torch.int16, torch.int8, torch.uint8, torch.bool]
BOTH_FORMATS = pytest.mark.parametrize("zipped", [True, False], ids=["zip", "legacy"])


def views(dtype):
    base = (torch.arange(60) % 7).to(dtype).reshape(3, 4, 5)
    return {
        "whole": base,
        "transposed": base.transpose(0, 2),
        "part": base[1:, ::2, 1],
        "scalar": base[2, 3, 4],
        "none": base[:0],
        "own": base.clone(),
        "parameter": torch.nn.Parameter(base, requires_grad=False),
        "expanded": base[:1, :1, :1].expand(2, 3, 4),
    }


def saved(path, content, zipped=True):
    torch.save(content, path, _use_new_zipfile_serialization=zipped)
    return path


def stored(path):
    with open_checkpoint(path) as file:
        return to_torch(extract_weights(file).tensors)


@BOTH_FORMATS
@pytest.mark.parametrize("dtype", DTYPES)
def test_views_are_read_as_they_were(tmp_path, dtype, zipped):
    expected = views(dtype)
    found = stored(saved(tmp_path / "net.pth", expected, zipped))
    assert found.keys() == expected.keys()
    for key, value in expected.items():
        assert found[key].dtype == dtype
        assert found[key].shape == value.shape
        if value.numel():
            assert found[key].stride() == value.stride()
        assert torch.equal(found[key], value.data)


@BOTH_FORMATS
@pytest.mark.parametrize("dtype", DTYPES)
def test_plain_numbers_are_those_of_the_tensors(tmp_path, dtype, zipped):
    expected = views(dtype)
    path = saved(tmp_path / "net.pth", expected, zipped)
    with open_checkpoint(path) as file:
        for key, tensor in file.content.text_items().items():
            assert isinstance(tensor, StoredTensor)
            assert tensor.numbers() == expected[key].flatten().tolist()


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32, torch.float64])
def test_plain_numbers_that_are_no_numbers(tmp_path, dtype):
    values = torch.tensor(
        [math.inf, -math.inf, math.nan, -0.0, torch.finfo(dtype).tiny], dtype=dtype
    )
    with open_checkpoint(saved(tmp_path / "net.pth", {"w": values})) as file:
        found = file.content.get("w").numbers()
    assert found[:2] == [math.inf, -math.inf]
    assert math.isnan(found[2])
    assert math.copysign(1, found[3]) == -1
    assert found[4] == torch.finfo(dtype).tiny


def test_plain_numbers_far_apart_are_read_one_by_one(tmp_path):
    base = torch.arange(400_000.0)
    with open_checkpoint(saved(tmp_path / "net.pth", {"w": base[::100_000]})) as file:
        assert file.content.get("w").numbers() == [0, 100_000, 200_000, 300_000]


@BOTH_FORMATS
def test_shared_memory_stays_shared(tmp_path, zipped):
    base = torch.arange(6.0)
    content = {"a": base, "b": base[2:], "c": base.clone()}
    found = stored(saved(tmp_path / "net.pth", content, zipped))
    found["a"][2] = 77
    assert found["b"][0] == 77
    assert found["c"][2] == 2


@BOTH_FORMATS
def test_memory_is_aligned_however_the_file_is_packed(tmp_path, zipped):
    content = {f"{i}": torch.ones(i, dtype=torch.uint8) for i in range(1, 9)}
    content |= {f"f{i}": torch.arange(float(i)) for i in range(1, 9)}
    for value in stored(saved(tmp_path / "net.pth", content, zipped)).values():
        assert value.data_ptr() % 64 == 0


def test_flags_that_are_neither_0_nor_1_are_refused(tmp_path):
    path = saved(tmp_path / "net.pth", {"w": torch.tensor([True, False, True])}, zipped=False)
    data = bytearray(path.read_bytes())
    data[-1] = 2
    path.write_bytes(data)
    with pytest.raises(CheckpointError, match="x cannot be read"):
        read_all(path)


def test_views_that_repeat_memory_many_times_over_are_refused(tmp_path):
    content = {"w": torch.ones(1).expand(1 << 40), "b": torch.ones(2)}
    with pytest.raises(CheckpointError, match=r"w of .* cannot be a weight") as caught:
        stored(saved(tmp_path / "net.pth", content))
    assert "repeat" in caught.value.found


def test_a_hundred_names_of_one_tensor_are_one_tensor(tmp_path):
    base = torch.ones(1 << 18)
    found = stored(saved(tmp_path / "net.pth", dict.fromkeys(map(str, range(500)), base)))
    assert len({value.data_ptr() for value in found.values()}) == 1


@pytest.mark.parametrize("shape", [(0, 1 << 62, 1 << 62), (1 << 50, 0)])
def test_an_empty_tensor_of_an_impossible_shape_is_refused(tmp_path, shape):
    path = saved(tmp_path / "net.pth", {"w": torch.ones(2)})
    with open_checkpoint(path) as file:
        tensor = file.content.get("w")
        empty = StoredTensor(tensor.storage, "float32", shape, tuple(0 for _ in shape), 1 << 70)
        file.content.values[0] = empty
        with pytest.raises(CheckpointError, match="w of"):
            extract_weights(file)
