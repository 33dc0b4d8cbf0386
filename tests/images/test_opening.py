"""Images from every kind of source, and what cannot be used."""

from __future__ import annotations

import io
import re
import struct
import zipfile
import zlib
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from small_images import GREY, class_folders, noise, pairs, zip_of

from ssn_prune.errors import ArgumentError, DataError
from ssn_prune.images import archives, decoding, image_arrays, npz
from ssn_prune.images.fitting import require_fitting
from ssn_prune.images.image_set import TargetKind, spread_evenly
from ssn_prune.images.opening import open_images
from ssn_prune.images.preprocessing import Preprocessing

SIZES = [(1, 8, 8)]
COLOURS = Preprocessing((3, 8, 8), (0.5,) * 3, (0.5,) * 3)


def opened(source, preprocessing=GREY, sizes=SIZES):
    return open_images(source, preprocessing=preprocessing, input_sizes=sizes)


def read(images):
    images.inputs(range(len(images)))
    images.targets(range(len(images)))


def refused(source, words, kind=DataError, **how):
    with pytest.raises(kind, match=words) as caught:
        read(opened(source, **how))
    assert caught.value.hint
    return caught.value


def test_a_folder_a_zip_and_a_folder_in_a_zip_are_the_same(tmp_path):
    folder = class_folders(tmp_path / "photos")
    (folder / "a" / "._0.png").write_bytes(b"a Mac's second file")
    places = [folder, zip_of(folder), zip_of(folder.rename(tmp_path / "x"), "in/") / "in"]
    places += [tmp_path / "x.zip"]  # a zip of the folder itself
    for place in places[1:]:
        images = opened(place)
        assert images.kind is TargetKind.CLASSES
        assert images.classes == ("a", "b", "c")
        assert len(images) == 12
        assert images.targets([0, 5, 11]).tolist() == [0, 1, 2]
        expected = torch.from_numpy(noise(5)).double() / 127.5 - 1
        (found,) = images.inputs([5])
        assert found.dtype == torch.float32
        torch.testing.assert_close(found[0, 0].double(), expected, rtol=0, atol=1e-6)


def test_an_empty_folder_is_a_class_as_well(tmp_path):
    folder = class_folders(tmp_path / "photos", ("a", "c"))
    (folder / "b").mkdir()
    for place in (folder, zip_of(folder)):
        images = opened(place)
        assert images.classes == ("a", "b", "c")
        assert images.targets([7]).tolist() == [2]
        require_fitting(images, 3)
        with pytest.raises(DataError, match="3 classes, and the network 4 outputs"):
            require_fitting(images, 4)


def test_links_to_folders_and_files_are_followed(tmp_path):
    folder = class_folders(tmp_path / "photos")
    expected = opened(folder).inputs(range(12))[0]
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    for name in ("b", "c"):
        (folder / name).rename(elsewhere / name)
        (folder / name).symlink_to(elsewhere / name)
    (elsewhere / "b" / "2.png").rename(elsewhere / "2.png")
    (folder / "b" / "2.png").symlink_to(Path("..") / "2.png")
    (tmp_path / "link").symlink_to(folder)
    for place in (folder, tmp_path / "link"):
        images = opened(place)
        assert images.classes == ("a", "b", "c")
        assert images.targets(range(12)).tolist() == [0] * 4 + [1] * 4 + [2] * 4
        assert torch.equal(images.inputs(range(12))[0], expected)


def test_two_classes_may_be_one_folder_and_a_link_upwards_leads_nowhere(tmp_path):
    folder = class_folders(tmp_path / "photos")
    (folder / "d").symlink_to("c")
    (folder / "a" / "all").symlink_to(folder)
    (folder / "all").symlink_to(".")
    (folder / "b" / "also").symlink_to(folder / "a")
    images = opened(folder)
    assert images.classes == ("a", "b", "c", "d")
    assert images.names == tuple(
        sorted(f"{name}/{i}.png" for name in ("a", "b", "b/also", "c", "d") for i in range(4))
    )
    assert opened(zip_of(class_folders(tmp_path / "plain"))).classes == ("a", "b", "c")


@pytest.mark.parametrize("target", ["nothing", "2.png"])
def test_a_link_to_nothing_is_named(tmp_path, target):
    folder = class_folders(tmp_path / "photos")
    (folder / "b" / "2.png").unlink()
    (folder / "b" / "2.png").symlink_to(target)
    refused(folder, r"b/2\.png")


def test_maps_beside_images_are_found_and_framed_like_them(tmp_path):
    folder = pairs(tmp_path / "road")
    frame = Preprocessing((3, 4, 4), (0.5,) * 3, (0.5,) * 3, resize=8)
    for place in (folder, zip_of(tmp_path / "road") / "test"):
        images = opened(place, COLOURS, [(3, 8, 8)])
        assert images.kind is TargetKind.MAPS
        labels = torch.from_numpy((noise(101) % 4).astype(np.int64))
        assert torch.equal(images.targets([1])[0], labels)
        part = opened(place, frame, [(3, 4, 4)])
        assert torch.equal(part.targets([1])[0], labels[2:6, 2:6])
        assert torch.equal(part.pixels([1])[0], images.pixels([1])[0, :, 2:6, 2:6])


def test_images_and_masks_in_one_folder_are_pairs(tmp_path):
    folder = pairs(tmp_path / "road")
    folder.rename(tmp_path / "road" / "images")
    (tmp_path / "road" / "testannot").rename(tmp_path / "road" / "masks")
    assert opened(tmp_path / "road", COLOURS, [(3, 8, 8)]).kind is TargetKind.MAPS


def test_images_without_labels(tmp_path):
    folder = class_folders(tmp_path / "photos") / "b"
    images = opened(folder)
    assert (images.kind, images.targets([0]), len(images)) == (TargetKind.NONE, None, 4)


def test_arrays_of_a_file_come_ready_and_bytes_are_normalized(tmp_path):
    x, y = noise(3, (5, 1, 8, 8)), np.arange(5, dtype=np.int32)
    np.savez(tmp_path / "bytes.npz", images=x, labels=y)
    np.savez_compressed(tmp_path / "ready.npz", x=x.astype(">f8") / 127.5 - 1)
    ready, pixels = opened(tmp_path / "ready.npz"), opened(tmp_path / "bytes.npz")
    assert (ready.kind, ready.preprocessing, ready.pixels([0])) == (TargetKind.NONE, None, None)
    assert pixels.preprocessing == GREY
    assert torch.equal(pixels.pixels([4, 1]), torch.from_numpy(x[[4, 1]]))
    assert pixels.targets([4, 1]).tolist() == [4, 1]
    torch.testing.assert_close(ready.inputs([2]), pixels.inputs([2]), rtol=0, atol=1e-6)
    refused(tmp_path / "bytes.npz", "are bytes", preprocessing=None)


LOADERS = """
import numpy, torch
x, y = torch.arange(12.0).view(6, 2), torch.arange(6)
plain = [x[:4], x[4:]]
labelled = list(zip(x.split(4), y.split(4)))
nested = [((x, x.numpy()), y.tolist())]
def function(): yield from labelled
def raises(): yield x; raise KeyError("gone")
def endless():
    while True: yield torch.zeros(1000, 2)
def ends(): raise SystemExit(3)
mixed = [x, (x, y)]
other = [x, x[:, :1]]
empty, number, words, unequal = [], 3, ["abc"], [(x, y[:2])]
lengths = torch.utils.data.DataLoader(torch.utils.data.TensorDataset(x, y), batch_size=4)
"""


@pytest.fixture
def loaders(tmp_path, monkeypatch):
    (tmp_path / "my_loaders.py").write_text(LOADERS)
    monkeypatch.chdir(tmp_path)


@pytest.mark.parametrize(
    ("name", "labelled"),
    [("plain", False), ("labelled", True), ("function", True), ("lengths", True)],
)
def test_a_loader_of_the_user_gives_batches(loaders, name, labelled):
    images = opened(f"my_loaders:{name}", sizes=[(2,)])
    assert images.inputs([5, 0])[0].tolist() == [[10, 11], [0, 1]]
    assert images.kind is (TargetKind.CLASSES if labelled else TargetKind.NONE)
    assert images.preview(0) is None


def test_a_network_with_two_inputs_takes_pairs(loaders):
    images = opened("my_loaders:nested", sizes=[(2,), (2,)])
    first, second = images.inputs([1])
    assert torch.equal(first, second)
    assert images.targets([1]).tolist() == [1]


@pytest.mark.parametrize(
    ("name", "words", "kind"),
    [
        ("raises", "KeyError: 'gone'", DataError),
        ("endless", "does it ever end", DataError),
        ("ends", "ends the program", ArgumentError),
        ("mixed", "batches without", DataError),
        ("other", "different shapes", DataError),
        ("empty", "no batch", DataError),
        ("number", "int", DataError),
        ("words", "str", DataError),
        ("unequal", "lengths", DataError),
        ("plains", "did you|my_loaders:plain", DataError),
    ],
)
def test_a_loader_that_gives_something_else_is_refused(loaders, monkeypatch, name, words, kind):
    monkeypatch.setattr("ssn_prune.images.loaders.MAX_BYTES", 1 << 20)
    refused(f"my_loaders:{name}", words, kind, sizes=[(2,)])


def test_a_loader_that_cannot_be_imported_is_refused(loaders):
    refused("no_such_module:loader", "ModuleNotFoundError")


def test_files_need_a_network_of_images_and_a_preprocessing(tmp_path):
    folder = class_folders(tmp_path / "photos")
    refused(folder, "`mean=`", preprocessing=None)
    refused(folder, "single images", sizes=[(1, 8, 8)] * 2)
    refused(folder, "single images", sizes=[(64,)])


@pytest.mark.parametrize("place", ["nothing", "text.zip", "empty.zip", "folder", "readme.zip"])
def test_a_place_without_images_is_refused(tmp_path, place):
    (tmp_path / "text.zip").write_bytes(b"text")
    (tmp_path / "folder").mkdir()
    with zipfile.ZipFile(tmp_path / "empty.zip", "w"):
        pass
    with zipfile.ZipFile(tmp_path / "readme.zip", "w") as archive:
        archive.writestr("readme.txt", b"none")
    refused(tmp_path / place, "holds no images")


def test_the_folders_of_a_zip_are_named_if_another_is_meant(tmp_path):
    class_folders(tmp_path / "photos" / "test")
    archive = zip_of(tmp_path / "photos")
    assert str(archive / "test") in refused(archive / "tset", "no such folder").hint


def test_images_in_and_beside_folders_are_refused(tmp_path):
    folder = class_folders(tmp_path / "photos")
    Image.fromarray(noise(0)).save(folder / "x.png")
    refused(folder, "outside of them")


def test_the_sets_of_a_folder_are_named(tmp_path):
    folder = pairs(tmp_path / "road")
    assert str(folder) in refused(folder.parent, "more than one set").hint


@pytest.mark.parametrize("lost", ["test/1.png", "testannot/1.png"])
def test_an_image_without_its_map_is_refused(tmp_path, lost):
    folder = pairs(tmp_path / "road")
    (tmp_path / "road" / lost).unlink()
    error = refused(folder, "belong together", preprocessing=COLOURS, sizes=[(3, 8, 8)])
    assert "'1'" in error.found


def test_a_map_in_colours_is_refused(tmp_path):
    folder = pairs(tmp_path / "road")
    Image.fromarray(noise(0, (8, 8, 3))).save(tmp_path / "road" / "testannot" / "1.png")
    refused(folder, "not a map of labels", preprocessing=COLOURS, sizes=[(3, 8, 8)])


# Files that are damaged or mean harm


def png(width: int, height: int) -> bytes:
    def chunk(kind: bytes, data: bytes) -> bytes:
        checksum = zlib.crc32(kind + data)
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", checksum)

    header = struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(b"\0"))


def whole_png() -> bytes:
    written = io.BytesIO()
    Image.fromarray(noise(0)).save(written, "PNG")
    return written.getvalue()


DAMAGED = {
    "truncated": whole_png()[:60],
    "empty": b"",
    "text": b"not an image",
    "postscript": b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 8 8\n",
    "bomb": png(30000, 30000),
    "large bomb": png(2**31 - 1, 2**31 - 1),
    "less data": png(8, 8),
}


@pytest.mark.parametrize("content", DAMAGED.values(), ids=DAMAGED)
def test_a_damaged_image_is_named(tmp_path, content):
    folder = class_folders(tmp_path / "photos")
    (folder / "b" / "2.png").write_bytes(content)
    for place in (folder, zip_of(folder)):
        refused(place, r"b/2\.png")


def test_a_member_that_unpacks_to_more_than_is_read_is_refused(tmp_path, monkeypatch):
    monkeypatch.setattr(archives, "MAX_FILE", 1 << 20)
    with zipfile.ZipFile(tmp_path / "bomb.zip", "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("a/0.png", bytes(2 << 20))
    refused(tmp_path / "bomb.zip", "more than 1 MB")


def flipped(data: bytes, after: bytes) -> bytes:
    place = data.index(after) + len(after) + 8
    return data[:place] + bytes([data[place] ^ 255]) + data[place + 1 :]


def test_a_damaged_zip_is_refused(tmp_path):
    whole = zip_of(class_folders(tmp_path / "photos")).read_bytes()
    damaged = tmp_path / "damaged.zip"
    damaged.write_bytes(flipped(whole, b"b/2.png"))
    refused(damaged, r"b/2\.png")
    damaged.write_bytes(whole[: len(whole) // 2])
    refused(damaged, "no whole zip")
    encrypted = bytearray(whole)
    for place in range(len(whole)):
        if whole[place : place + 4] == b"PK\1\2":
            encrypted[place + 8] |= 1
    damaged.write_bytes(bytes(encrypted))
    refused(damaged, "encrypted")


def test_names_that_lead_outside_are_left_out(tmp_path):
    with zipfile.ZipFile(tmp_path / "x.zip", "w") as archive:
        for name in ("../secret.png", "/etc/passwd.png", "a//b.png", "c/../../d.png"):
            archive.writestr(name, whole_png())
    refused(tmp_path / "x.zip", "holds no images")
    with zipfile.ZipFile(tmp_path / "x.zip", "a") as archive:
        archive.writestr("inside.png", whole_png())
    assert opened(tmp_path / "x.zip").names == ("inside.png",)


def npy(header: str, data: bytes = b"") -> bytes:
    text = header.encode() + b"\n"
    return b"\x93NUMPY\x01\x00" + struct.pack("<H", len(text)) + text + data


PICKLED = io.BytesIO()
np.save(PICKLED, np.array([{}], dtype=object), allow_pickle=True)
BAD_MEMBERS = {
    "pickle": PICKLED.getvalue(),
    "text": b"text",
    "more than there is": npy("{'descr': '<f4', 'fortran_order': False, 'shape': (999999, 1)}"),
    "no memory for it": npy("{'descr': '<f8', 'fortran_order': False, 'shape': (2**60, 8)}"),
    "huge": npy(f"{{'descr': '<f8', 'fortran_order': False, 'shape': ({2**60}, 8)}}"),
    "negative": npy("{'descr': '<f8', 'fortran_order': False, 'shape': (-1, 8)}"),
    "code": npy("__import__('os').abort()"),
}


@pytest.mark.parametrize("content", BAD_MEMBERS.values(), ids=BAD_MEMBERS)
def test_an_array_file_that_means_harm_is_refused(tmp_path, content):
    with zipfile.ZipFile(tmp_path / "x.npz", "w") as archive:
        archive.writestr("images.npy", content)
    refused(tmp_path / "x.npz", "x.npz")


@pytest.mark.parametrize("kind", [np.int64, np.float32, np.uint8])
@pytest.mark.parametrize("shape", [(3, 1), (3, 1, 8, 8), (3, 8, 8, 1), (3, 4), (3, 4, 8, 8)])
def test_the_hint_makes_classes_of_labels(tmp_path, shape, kind):
    expected = np.random.default_rng(1).integers(0, 4, (3, *(8,) * (2 if len(shape) > 2 else 0)))
    hot = 4 in shape
    labels = np.eye(4)[expected].swapaxes(1, -1) if hot else expected.reshape(shape)
    if hot and len(shape) > 2:
        labels = labels.swapaxes(2, 3)  # (n, classes, H, W)
    assert labels.shape == shape
    np.savez(tmp_path / "x.npz", images=np.zeros((3, 1, 8, 8)), labels=labels.astype(kind))
    hint = refused(tmp_path / "x.npz", "not classes").hint
    (call,) = re.findall(r"labels\.(\w+)\((\d)\)", hint)
    cured = getattr(labels, call[0])(int(call[1])).astype(kind)
    np.savez(tmp_path / "x.npz", images=np.zeros((3, 1, 8, 8)), labels=cured)
    assert np.array_equal(opened(tmp_path / "x.npz").targets(range(3)), expected)


@pytest.mark.parametrize(
    ("arrays", "words"),
    [
        ({}, "not have the network's inputs"),
        ({"pictures": np.zeros((2, 1, 8, 8))}, "pictures"),
        ({"images": np.zeros((2, 8, 8, 1))}, "shape"),
        ({"images": np.zeros((2, 1, 8, 8)), "labels": np.zeros(3)}, "unequal"),
        ({"images": np.zeros((0, 1, 8, 8))}, "no inputs"),
        ({"images": np.zeros((2, 1, 8, 8)), "labels": np.eye(2)}, "not classes"),
        ({"images": np.zeros((2, 1, 8, 8)), "labels": np.array([0.5, 1])}, "not classes"),
        ({"images": np.zeros((2, 1, 8, 8)), "labels": np.array([np.nan, 1])}, "not classes"),
        ({"images": np.zeros((2, 1, 8, 8)), "labels": np.array([np.inf, 1])}, "not classes"),
        ({"images": np.zeros((2, 1, 8, 8)), "labels": np.array(3)}, "not classes"),
        ({"images": np.array(3.0)}, "shape"),
        ({"images": np.array(["a", "b"])}, "not an array of numbers"),
        ({"images": np.zeros((2, 1, 8, 8), complex)}, "not an array of numbers"),
    ],
)
def test_arrays_that_do_not_fit_are_refused(tmp_path, arrays, words):
    np.savez(tmp_path / "x.npz", **arrays)
    refused(tmp_path / "x.npz", words)


def test_a_large_array_file_is_refused_before_it_is_read(tmp_path, monkeypatch):
    monkeypatch.setattr(npz, "MAX_BYTES", 1000)
    assert image_arrays.MAX_BYTES == 2 << 30
    np.savez_compressed(tmp_path / "x.npz", images=np.zeros((64, 1, 8, 8)))
    refused(tmp_path / "x.npz", "too large")


def test_previews_are_small_pictures(tmp_path):
    content = opened(class_folders(tmp_path / "photos")).preview(0)
    assert np.array_equal(np.array(Image.open(io.BytesIO(content))), noise(0))
    large = decoding.small_png(torch.linspace(-3, 5, 3 * 96 * 192).view(3, 96, 192))
    picture = Image.open(io.BytesIO(large))
    assert (picture.size, picture.mode) == ((48, 24), "RGB")
    assert decoding.small_png(torch.zeros(2, 8, 8)) is None


def test_a_limit_is_spread_over_all():
    assert spread_evenly(10, 4) == [0, 2, 5, 7]
    assert spread_evenly(3, None) == spread_evenly(3, 9) == [0, 1, 2]


def test_a_relative_path_without_a_name_is_a_folder(tmp_path, monkeypatch):
    monkeypatch.chdir(class_folders(tmp_path / "photos"))
    assert len(opened(Path())) == 12
