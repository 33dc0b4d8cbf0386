"""Both networks on images: counts by hand, what differs, and what cannot be compared."""

from __future__ import annotations

import base64
import io
import sys
import types
from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from helpers import TinyNetwork, one_hot_gates, tiny_network
from PIL import Image
from small_images import class_folders, noise, pairs
from torch import nn

from ssn_prune import (
    ArgumentError,
    CaptureError,
    ConvertOptions,
    DataError,
    LoadedCheckpoint,
    UntrustedFileError,
    accuracy_on_images,
    convert,
    load_checkpoint,
)
from ssn_prune.conversion.on_images import open_for
from ssn_prune.images.image_set import TargetKind
from ssn_prune.images.preprocessing import Preprocessing

ARCH = "helpers:TinyNetwork"
HALF = ConvertOptions(mean=(0.5,), std=(0.5,), algebra=False, rounding=False)


def saved(folder: Path, model: nn.Module, name: str = "net.pth", arch: str = ARCH):
    torch.save({"state_dict": model.state_dict()}, folder / name)
    return load_checkpoint(folder / name, arch=arch)


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    made = tmp_path_factory.mktemp("on_images")
    class_folders(made / "photos")
    return made


@pytest.fixture(scope="module")
def loaded(folder) -> LoadedCheckpoint:
    return saved(folder, tiny_network())


@pytest.fixture(scope="module")
def file(folder, loaded) -> Path:
    convert(loaded, folder / "net.onnx", HALF)
    return folder / "net.onnx"


@pytest.fixture(scope="module")
def other(folder) -> Path:
    """A file of another network, which gives other classes."""
    network = tiny_network(seed=3)
    convert(saved(folder, network, "other.pth"), folder / "other.onnx", HALF)
    return folder / "other.onnx"


def classes(network: nn.Module) -> list[int]:
    """Of the twelve images, one by one, from the pixels themselves in float64."""
    wide = network.double()
    found = []
    with torch.no_grad():
        for index in range(12):
            x = torch.from_numpy(noise(index)).double()[None, None] / 127.5 - 1
            found.append(int(wide(x).argmax()))
    network.float()
    return found


def share_right(predicted: list[int]) -> float:
    return sum(p == i // 4 for i, p in enumerate(predicted)) / 12


def test_accuracy_is_that_of_a_count_by_hand(folder, loaded, file):
    progress = []
    found = accuracy_on_images(loaded, file, folder / "photos", progress=progress.append)
    expected = share_right(classes(tiny_network()))
    assert 0 < expected < 1
    assert found.original == found.file
    assert found.original.top1 == expected
    assert found.original.top5 is None
    assert (found.images, found.available, found.kind) == (12, 12, TargetKind.CLASSES)
    assert (found.agreement, found.differing, found.listed) == (1, 0, ())
    assert 0 < found.relative_difference <= found.largest_difference < 1e-5
    assert found.difference.lower < 0 == found.difference.mean < found.difference.upper
    assert any("images" in step for step in progress)


def test_what_the_file_says_of_preprocessing_is_used_and_can_be_overruled(folder, loaded, file):
    given = accuracy_on_images(loaded, file, folder / "photos", HALF)
    assert given == accuracy_on_images(loaded, file, folder / "photos")
    inverted = ConvertOptions(mean=(0.9,), std=(0.1,))
    overruled = accuracy_on_images(loaded, file, folder / "photos", inverted)
    assert overruled.relative_difference != given.relative_difference


def test_images_that_differ_are_listed_with_what_both_say(folder, loaded, other):
    before, after = classes(tiny_network()), classes(tiny_network(seed=3))
    off = [index for index in range(12) if before[index] != after[index]]
    found = accuracy_on_images(loaded, other, folder / "photos")
    assert off
    assert found.differing == len(off)
    assert found.agreement == 1 - len(off) / 12
    assert found.difference.mean == pytest.approx(share_right(after) - share_right(before))
    names = [f"{'abc'[index // 4]}/{index % 4}.png" for index in off]
    assert sorted(image.name for image in found.listed) == names
    steps = [image.difference for image in found.listed]
    assert steps == sorted(steps, reverse=True)
    for image in found.listed:
        index = off[names.index(image.name)]
        said = (image.target, image.original, image.file)
        assert said == tuple("abc"[i] for i in (index // 4, before[index], after[index]))
        picture = Image.open(io.BytesIO(base64.b64decode(image.picture)))
        assert np.array_equal(np.array(picture), noise(index))


def test_lists_and_pictures_are_bounded(folder, loaded, other, monkeypatch):
    monkeypatch.setattr("ssn_prune.conversion.compared_images.LISTED", 2)
    monkeypatch.setattr("ssn_prune.conversion.compared_images.PICTURES", 1)
    found = accuracy_on_images(loaded, other, folder / "photos")
    assert found.differing > 2
    assert [image.picture is None for image in found.listed] == [False, True]


def test_a_limit_takes_images_of_every_class(folder, loaded, file):
    found = accuracy_on_images(loaded, file, folder / "photos", data_limit=3)
    predicted = classes(tiny_network())
    assert (found.images, found.available) == (3, 12)
    assert found.original.top1 == sum(predicted[4 * i] == i for i in range(3)) / 3


def test_a_file_for_one_batch_size_gets_whole_batches(folder, loaded, file):
    options = ConvertOptions(static_batch=5, algebra=False, rounding=False)
    convert(loaded, folder / "five.onnx", options, force=True)
    fixed = accuracy_on_images(loaded, folder / "five.onnx", folder / "photos", HALF)
    free = accuracy_on_images(loaded, file, folder / "photos")
    assert fixed.images == 12
    assert fixed.original == free.original
    assert fixed.agreement == 1


def test_images_without_labels_are_compared_all_the_same(folder, loaded, file, other):
    found = accuracy_on_images(loaded, file, folder / "photos" / "a")
    assert (found.kind, found.difference, found.original.top1) == (TargetKind.NONE, None, None)
    assert (found.images, found.agreement) == (4, 1)
    differing = accuracy_on_images(loaded, other, folder / "photos" / "a")
    assert all(image.target is None for image in differing.listed)


class Maps(TinyNetwork):
    """A class for each pixel of (N, 3, 8, 8)."""

    input_size = (3, 8, 8)

    def __init__(self) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(3, 4, 3, padding=1, bias=False)
        self.fc = nn.Conv2d(4, 3, 1)

    def forward(self, x):
        x = self.sn2(self.conv2(torch.relu(self.sn1(self.conv1(x)))))
        return {"out": self.fc(x), "aux": x}


class Points(TinyNetwork):
    """Two numbers that are no classes: (N, 2, 1) would be, (N, 1) are not."""

    def __init__(self) -> None:
        super().__init__(num_classes=1)


class Raises(TinyNetwork):
    def forward(self, x):
        if x.shape[0] > 3:
            raise ValueError("too many")
        return super().forward(x)


class Single(TinyNetwork):
    def forward(self, x):
        return super().forward(x).sum(0)


def made(kind: type[nn.Module]) -> nn.Module:
    torch.manual_seed(0)
    network = kind().eval()
    one_hot_gates(network.sn1, 0, 2)
    one_hot_gates(network.sn2, 1, 0)
    return network


@pytest.mark.usefixtures("importable")
def test_maps_are_compared_pixel_by_pixel(folder):
    network = made(Maps)
    loaded = saved(folder, network, "maps.pth", "conversion_networks:Maps")
    convert(loaded, folder / "maps.onnx", HALF)
    data = pairs(folder / "road")
    found = accuracy_on_images(loaded, folder / "maps.onnx", data)
    same, union, void = np.zeros(3), np.zeros(3), 0
    with torch.no_grad():
        for index in range(3):
            x = torch.from_numpy(noise(index, (8, 8, 3))).permute(2, 0, 1)[None].float() / 127.5 - 1
            said, labels = network(x)["out"].argmax(1)[0].numpy(), noise(100 + index) % 4
            void += (labels == 3).sum()
            for label in range(3):
                mine, right = (said == label) & (labels < 3), labels == label
                same[label] += (mine & right).sum()
                union[label] += (mine | right).sum()
    assert found.original.miou == pytest.approx((same / union).mean(), abs=1e-12)
    assert found.without_class == pytest.approx(void / (3 * 64))
    assert (found.kind, found.agreement, found.differing) == (TargetKind.MAPS, 1, 0)
    assert (found.difference.mean, found.difference.upper) == (0, 0)


@pytest.mark.usefixtures("importable")
def test_maps_without_a_class_are_refused(folder, tmp_path):
    loaded = saved(folder, made(Maps), "maps.pth", "conversion_networks:Maps")
    convert(loaded, tmp_path / "maps.onnx", HALF)
    data = pairs(tmp_path / "road")
    for path in (tmp_path / "road" / "testannot").iterdir():
        Image.fromarray(np.full((8, 8), 255, dtype=np.uint8)).save(path)
    with pytest.raises(DataError, match="no pixel in the label maps"):
        accuracy_on_images(loaded, tmp_path / "maps.onnx", data)


@pytest.mark.usefixtures("importable")
def test_outputs_that_are_no_classes_have_no_agreement(folder):
    loaded = saved(folder, made(Points), "points.pth", "conversion_networks:Points")
    convert(loaded, folder / "points.onnx", HALF)
    found = accuracy_on_images(loaded, folder / "points.onnx", folder / "photos" / "a")
    assert (found.agreement, found.differing, found.original.top1) == (None, 0, None)


@pytest.fixture
def importable(monkeypatch):
    """The networks of this file, under a name that the loader finds."""
    module = types.ModuleType("conversion_networks")
    module.__dict__.update(Maps=Maps, Points=Points, Raises=Raises, Single=Single)
    monkeypatch.setitem(sys.modules, "conversion_networks", module)


@pytest.mark.usefixtures("importable")
@pytest.mark.parametrize(
    ("kind", "error", "words"),
    [(Raises, CaptureError, "too many"), (Single, DataError, "a row for each image")],
)
def test_a_network_that_does_not_take_images_is_refused(folder, file, kind, error, words):
    loaded = saved(folder, made(kind), "odd.pth", f"conversion_networks:{kind.__name__}")
    with pytest.raises(error, match=words):
        accuracy_on_images(loaded, file, folder / "photos")


def test_gates_as_they_are_count_not_the_rounded_ones(folder):
    network = tiny_network()
    network.sn1.mean_fixed.zero_()
    with torch.no_grad():
        network.sn1.mean_weight.copy_(torch.tensor([0.6, 0.5, 0.4]))
        network.sn1.radius.fill_(0.2)
    loaded = saved(folder, network, "soft.pth")
    options = ConvertOptions(
        on_unconverged="argmax", algebra=False, rounding=False, mean=(0.5,), std=(0.5,)
    )
    convert(loaded, folder / "soft.onnx", options)
    found = accuracy_on_images(loaded, folder / "soft.onnx", folder / "photos")
    assert found.relative_difference > 1e-3
    assert found.original.top1 == share_right(classes(network))


def test_what_cannot_be_compared_is_refused(folder, loaded, file, tmp_path):
    with pytest.raises(ArgumentError, match="data_limit=1"):
        accuracy_on_images(loaded, file, folder / "photos", data_limit=0)
    class_folders(tmp_path / "two", ("a", "b"))
    with pytest.raises(DataError, match="2 classes, and the network 3 outputs"):
        accuracy_on_images(loaded, file, tmp_path / "two")
    np.savez(tmp_path / "x.npz", images=np.zeros((2, 1, 8, 8), np.float32), labels=[0, 3])
    with pytest.raises(DataError, match="classes 0 to 2"):
        accuracy_on_images(loaded, file, tmp_path / "x.npz")


def test_a_torch_program_is_compared_if_it_is_trusted(folder, loaded):
    convert(loaded, folder / "net.pt2", HALF)
    with pytest.raises(UntrustedFileError):
        accuracy_on_images(loaded, folder / "net.pt2", folder / "photos")
    found = accuracy_on_images(loaded, folder / "net.pt2", folder / "photos", trust_pt2=True)
    assert (found.agreement, found.original.top1) == (1, share_right(classes(tiny_network())))


# The file takes pixels


@pytest.fixture(scope="module")
def pixels(folder, loaded) -> Path:
    options = ConvertOptions(mean=(0.4,), std=(0.3,), embed_preprocessing=True)
    report = convert(loaded, folder / "pixels.onnx", options)
    assert report.onnx.types == {"input": "uint8", "output": "float32"}
    assert report.preprocessing == Preprocessing((1, 8, 8), (0.4,), (0.3,))
    assert report.verification.passed
    return folder / "pixels.onnx"


def test_a_file_that_takes_pixels_gives_what_the_other_gives_bit_by_bit(folder, loaded, pixels):
    options = ConvertOptions(algebra=False, rounding=False)
    convert(loaded, folder / "numbers.onnx", options)
    x = np.stack([noise(index)[None] for index in range(12)])
    x[0], x[1] = 0, 255  # the padding of the first convolution is no pixel
    scale, shift = np.float32(1 / (255 * 0.3)), np.float32(-0.4 / 0.3)
    numbers = x.astype(np.float32) * scale + shift
    outputs = [
        onnxruntime.InferenceSession(folder / name).run(None, {"input": value})[0]
        for name, value in (("pixels.onnx", x), ("numbers.onnx", numbers))
    ]
    assert np.array_equal(*outputs)
    exact = tiny_network().double()(torch.from_numpy((x / 255 - 0.4) / 0.3)).detach().numpy()
    assert np.abs(outputs[0] - exact).max() < 3e-6 * np.abs(exact).max()


def test_a_file_that_takes_pixels_is_compared_on_images(folder, loaded, pixels):
    found = accuracy_on_images(loaded, pixels, folder / "photos")
    assert (found.agreement, found.original) == (1, found.file)
    assert found.largest_difference < 1e-5


def test_the_preprocessing_stands_in_front_of_everything(pixels):
    graph = onnx.load(pixels).graph
    assert [node.op_type for node in graph.node[:3]] == ["Cast", "Mul", "Add"]
    assert [node.name for node in graph.node[:3]] == [
        f"preprocessing/{kind}" for kind in ("Cast", "Mul", "Add")
    ]
    onnx.checker.check_model(str(pixels), full_check=True)


def test_a_detection_model_is_told_what_it_can_do_without_images(folder, loaded):
    with pytest.raises(DataError, match="converted and verified without `data=`"):
        open_for(replace(loaded, takes_images=True), folder / "photos", HALF, None)


def test_open_images_asks_for_what_is_missing(folder, loaded):
    with pytest.raises(DataError, match="`mean=`"):
        open_for(loaded, folder / "photos", ConvertOptions(), None)
