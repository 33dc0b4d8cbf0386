"""The training examples run on tiny data, go on bit for bit, and their results convert."""

from __future__ import annotations

import importlib
import shutil
import sys
import zipfile
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from torch import nn
from torch.utils.data import DataLoader

from ssn_prune import GateRecords, SSN2d, select
from ssn_prune.cli.app import app
from ssn_prune.errors import UsageError

EXAMPLES = Path(__file__).parent.parent / "examples"


@pytest.fixture(scope="module", autouse=True)
def _importable_examples():
    """As for a script, whose folder is on the path."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sys, "path", [str(EXAMPLES), *sys.path])
        yield


def example(name: str):
    return importlib.import_module(name)


def zipped(folder: Path) -> Path:
    return Path(shutil.make_archive(str(folder), "zip", folder))


@pytest.fixture(scope="module")
def photos(tmp_path_factory):
    """Two classes of JPEGs, 8 images each, dark and bright noise."""
    folder = tmp_path_factory.mktemp("data") / "photos"
    random = np.random.default_rng(0)
    for name, low in (("bright", 120), ("dark", 0)):
        (folder / name).mkdir(parents=True)
        for index in range(8):
            pixels = random.integers(low, low + 130, (32, 40, 3), dtype=np.uint8)
            Image.fromarray(pixels).save(folder / name / f"{index}.jpg", quality=95)
    return folder


@pytest.fixture(scope="module")
def photo_zip(photos):
    return zipped(photos)


def classify(data: Path, output: Path, *options: str) -> dict:
    """Train the small ResNet for images of 32x32 and read the checkpoint."""
    tiny = ["--cifar", "--batch", "8", "--epochs", "3", "--workers", "0", "--lr", "1"]
    paths = ["--train", str(data), "--val", str(data), "--output", str(output)]
    example("train_classification").main([*paths, *tiny, *options])
    return torch.load(output / "checkpoint.pth", weights_only=True)


def assert_same(a, b, where: str = "checkpoint") -> None:
    """Every tensor and number of two nested structures is equal, exactly."""
    assert type(a) is type(b), where
    if isinstance(a, dict):
        assert list(a) == list(b), where
        for key in a:
            assert_same(a[key], b[key], f"{where}.{key}")
    elif isinstance(a, list | tuple):
        assert len(a) == len(b), where
        for index, pair in enumerate(zip(a, b, strict=True)):
            assert_same(*pair, f"{where}[{index}]")
    elif isinstance(a, torch.Tensor):
        assert a.dtype == b.dtype, where
        assert torch.equal(a, b), where
    else:
        assert a == b, where


# Images


def test_a_folder_a_zip_and_a_folder_in_a_zip_hold_the_same_images(photos, photo_zip, tmp_path):
    data = example("image_data")
    nested = tmp_path / "nested.zip"
    with zipfile.ZipFile(nested, "w") as archive:
        for file in photos.rglob("*.jpg"):
            archive.write(file, f"inner/{file.relative_to(photos).as_posix()}")
        archive.writestr("inner/dark/._0.jpg", b"a Mac's second file")
        archive.writestr("other/x.jpg", b"outside")
    expected = data.Files(photos)
    assert len(expected.names) == 16
    for path in (photo_zip, nested / "inner"):
        files = data.Files(path)
        assert files.names == expected.names
        for name in files.names:
            assert files.image(name).tobytes() == expected.image(name).tobytes()


def test_workers_read_a_zip_that_the_parent_has_open(photo_zip):
    data = example("image_data")
    photos = data.ClassFolders(photo_zip, data.validation_transform(16, cifar=False))
    expected = torch.stack([photos[i][0] for i in range(len(photos))])  # opens it here
    read = torch.cat([x for x, _ in DataLoader(photos, batch_size=2, num_workers=2)])
    assert torch.equal(read, expected)


def test_the_limit_keeps_all_classes(photos):
    data = example("image_data")
    limited = data.ClassFolders(photos, data.training_transform(16, cifar=True), limit=4)
    assert [label for _, label in limited] == [0, 0, 1, 1]


@pytest.mark.parametrize("found", ["nothing", "no images", "no zip", "damaged", "other classes"])
def test_unusable_images_are_refused(photos, tmp_path, found):
    data = example("image_data")
    path = tmp_path / "given"
    if found == "no images":
        path.mkdir()
    elif found == "no zip":
        path.write_bytes(b"text")
    elif found != "nothing":
        (path / "dark").mkdir(parents=True)
        whole = (photos / "dark" / "0.jpg").read_bytes()
        (path / "dark" / "0.jpg").write_bytes(whole[:200] if found == "damaged" else whole)
    classes = ["bright", "dark"] if found == "other classes" else None
    with pytest.raises(UsageError, match=r"given"):
        data.ClassFolders(path, data.training_transform(8, cifar=False), classes=classes)[0]


# Classification


def test_training_from_a_zip_is_training_from_the_folder(photos, photo_zip, tmp_path, capsys):
    from_folder = classify(photos, tmp_path / "folder")
    lines = capsys.readouterr().out.splitlines()
    assert [line.split(":")[0] for line in lines] == [
        *(f"epoch {n}/3" for n in (1, 2, 3)),
        "convert",
    ]
    assert "one-hot gates 18/18" in lines[2]
    assert "--arch cifar_resnet:cifar_resnet" in lines[3]
    assert_same(from_folder, classify(photo_zip, tmp_path / "zip"))
    assert from_folder["epoch"] == 3
    assert not select(from_folder["state_dict"]).unconverged
    history = GateRecords.load(tmp_path / "folder" / "gates.npz")
    assert history.steps.tolist() == [1, 2, 3, 4, 5, 6]
    assert (history.ratios[-1].max(-1) == 1).all()
    other = classify(photos, tmp_path / "other", "--seed", "1")["state_dict"]
    with pytest.raises(AssertionError):  # so that equality means something
        assert_same(from_folder["state_dict"], other)


@pytest.mark.parametrize(
    "options",
    [
        ("--workers", "1"),
        ("--freeze-selected", "--radius-end", "2"),  # swapped in epoch 2, before the interruption
    ],
    ids=" ".join,
)
def test_resumed_training_is_bit_for_bit_the_uninterrupted_one(
    photo_zip, tmp_path, monkeypatch, options
):
    expected = classify(photo_zip, tmp_path / "whole", *options)
    script = example("train_classification")
    saves = []

    def interrupted(content, path):
        saves.append(path)
        if len(saves) == 3:  # when the gates' history is written, but the checkpoint is not
            raise KeyboardInterrupt
        example("checkpoints").save_atomically(content, path)

    with monkeypatch.context() as patch:
        patch.setattr(script, "save_atomically", interrupted)
        with pytest.raises(KeyboardInterrupt):
            classify(photo_zip, tmp_path / "parts", *options)
    half = tmp_path / "parts" / "checkpoint.pth"
    assert torch.load(half, weights_only=True)["epoch"] == 2
    resumed = classify(photo_zip, tmp_path / "parts", *options, "--resume", str(half))
    assert_same(resumed, expected)
    histories = [GateRecords.load(tmp_path / n / "gates.npz") for n in ("whole", "parts")]
    assert histories[0].steps.tolist() == histories[1].steps.tolist() == [1, 2, 3, 4, 5, 6]
    assert np.array_equal(histories[0].ratios, histories[1].ratios)


def test_resuming_needs_a_training_with_the_same_settings(photo_zip, tmp_path):
    classify(photo_zip, tmp_path, "--epochs", "1")
    resume = ("--resume", str(tmp_path / "checkpoint.pth"))
    with pytest.raises(UsageError, match="other settings") as error:
        classify(photo_zip, tmp_path, "--epochs", "2", "--seed", "3", *resume)
    assert (error.value.expected, error.value.found) == ("epochs 1, seed 0", "epochs 2, seed 3")
    torch.save({"state_dict": {}}, tmp_path / "weights.pth")
    with pytest.raises(UsageError, match="not a training"):
        classify(photo_zip, tmp_path, "--resume", str(tmp_path / "weights.pth"))


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (("--radius-end", "0.7"), "leaves gates undecided"),
        (("--freeze-selected", "--norm", "bn"), "SSN layers in a single process"),
        (("--sync-statistics", "--norm", "bn"), "SSN and SN layers"),
    ],
)
def test_contradicting_options_are_refused(photo_zip, tmp_path, capsys, options, said):
    with pytest.raises(SystemExit):
        classify(photo_zip, tmp_path, *options)
    assert said in capsys.readouterr().err


def test_unusable_networks_and_too_few_images_are_refused(photo_zip, tmp_path):
    with pytest.raises(UsageError, match="has ssn layers, not sn"):
        classify(photo_zip, tmp_path, "--arch", "resnetv1ssn18", "--norm", "sn")
    with pytest.raises(UsageError, match="cannot be trained here"):
        classify(photo_zip, tmp_path, "--arch", "helpers:tiny_network")
    with pytest.raises(UsageError, match="too few images"):
        classify(photo_zip, tmp_path, "--limit", "5")


def test_convert_needs_nothing_but_the_checkpoint(photo_zip, tmp_path, capsys):
    options = ("--arch", "timm:test_resnet", "--size", "160", "--epochs", "1", "--limit", "8")
    classify(photo_zip, tmp_path, *options)
    source, target = str(tmp_path / "checkpoint.pth"), str(tmp_path / "model.onnx")
    said = capsys.readouterr().out.splitlines()[-1]
    assert said == f"convert: ssn-prune convert {source} -o {target}"
    assert app(["convert", source, "-o", target, "--quiet"], standalone_mode=False) in (0, None)
    assert Path(target).exists()


def test_mixed_precision_and_sn(photo_zip, tmp_path, capsys):
    short = ("--norm", "sn", "--epochs", "1", "--limit", "8")
    full = classify(photo_zip, tmp_path / "full", *short)["state_dict"]
    mixed = classify(photo_zip, tmp_path / "mixed", *short, "--amp")["state_dict"]
    assert "--on-unconverged exact" in capsys.readouterr().out
    assert not any(key.endswith("fixed") for key in full)
    assert not torch.equal(mixed["fc.weight"], full["fc.weight"])
    # bfloat16 has 8 bits.
    torch.testing.assert_close(mixed["fc.weight"], full["fc.weight"], rtol=0, atol=0.02)


def test_the_zero_initialized_norms_of_residual_blocks():
    build = example("classifiers").network
    for arch in ("torchvision:resnet18", "cifar-resnet"):
        layers = [m for m in build(arch, "ssn", 3).modules() if isinstance(m, SSN2d)]
        zero = [layer for layer in layers if not layer.weight.any()]
        assert len(zero) == {20: 8, 9: 3}[len(layers)]


# Segmentation


def street(random) -> tuple[np.ndarray, np.ndarray]:
    """An image whose red channel is 20 times the label of each pixel."""
    labels = random.integers(0, 12, (3, 4), dtype=np.uint8).repeat(8, 0).repeat(8, 1)
    return np.stack([labels * 20, *[np.zeros_like(labels)] * 2], -1), labels


@pytest.fixture(scope="module")
def camvid(tmp_path_factory):
    folder = tmp_path_factory.mktemp("data") / "camvid"
    random = np.random.default_rng(0)
    for part, count in (("train", 8), ("val", 3), ("test", 2)):
        (folder / part).mkdir(parents=True)
        (folder / f"{part}annot").mkdir()
        for index in range(count):
            image, labels = street(random)
            Image.fromarray(image).save(folder / part / f"{index}.jpg", quality=100)
            Image.fromarray(labels).save(folder / f"{part}annot" / f"{index}.png")
    return zipped(folder)


def test_images_and_label_maps_stay_together(camvid):
    script = example("train_segmentation")
    torch.manual_seed(0)
    pairs = script.CamVid(camvid, "train", (24, 32), None)
    assert len(pairs) == 8
    matching, mirrored = [], []
    for image, labels in pairs:
        assert (image.dtype, labels.dtype) == (torch.float32, torch.int64)
        red = (image[0] * script.STD[0] + script.MEAN[0]) * 255 / 20
        for shares, shown in ((matching, labels), (mirrored, labels.flip(1))):
            shares.append(((red - shown).abs() < 0.5).float().mean())
    # Resized images blend at the borders of the patches.
    assert torch.stack(matching).mean() > 0.7
    assert torch.stack(mirrored).mean() < 0.4


def test_mean_iou_by_hand():
    class Fixed(nn.Module):
        def forward(self, x):
            return {"out": torch.eye(11)[x.long()].movedim(-1, 1)}

    true = torch.tensor([[[0, 0, 1, 11]]])
    found = torch.tensor([[[0, 1, 1, 5]]])  # void is left out, also what was found there
    iou = example("train_segmentation").mean_iou(Fixed(), [(found, true)], torch.device("cpu"))
    assert iou == pytest.approx(100 * (1 / 2 + 1 / 2) / 2)


def test_segmentation_trains_and_converts(camvid, tmp_path, monkeypatch, capsys):
    script = example("train_segmentation")

    class Narrow(nn.Module):
        """In the place of torchvision's networks, whose conversion takes too long here."""

        def __init__(self):
            super().__init__()
            self.body = nn.Sequential(nn.Conv2d(3, 6, 3, 1, 1), SSN2d(6), nn.ReLU())
            self.head = nn.Conv2d(6, 11, 1)

        def forward(self, x):
            return {"out": self.head(self.body(x))}

    monkeypatch.setattr(script, "segmentation_network", lambda _name: Narrow())
    tiny = ["--size", "24", "--epochs", "2", "--batch", "4", "--workers", "0"]
    script.main(["--data", str(camvid), "--output", str(tmp_path), *tiny])
    lines = capsys.readouterr().out.splitlines()
    assert [line.split()[0] for line in lines[:3]] == ["epoch", "epoch", "test"]
    assert "one-hot gates 2/2" in lines[1]
    assert lines[-1].endswith("verified: True")
    assert GateRecords.load(tmp_path / "gates.npz").steps.tolist() == [1, 2, 3, 4]


def test_segmentation_networks_by_name():
    script = example("train_segmentation")
    model = script.segmentation_network("torchvision:lraspp_mobilenet_v3_large").eval()
    assert any(isinstance(module, SSN2d) for module in model.modules())
    assert model(torch.zeros(1, 3, 48, 64))["out"].shape == (1, 11, 48, 64)
    with pytest.raises(UsageError, match="unknown segmentation network"):
        script.segmentation_network("torchvision:resnet18")


# Video


def test_clips_move_as_their_label_says(photos):
    script = example("train_video")
    clips = script.MovingCrops(photos, 8, 6, 16, 2, None, seed=3)
    seen = set()
    for index in range(len(clips)):
        clip, label = clips[index]
        assert clip.shape == (3, 6, 16, 16)
        assert torch.equal(clips[index][0], clip)  # validation sees the same clips every time
        down, right = (2 * step for step in script.DIRECTIONS[label])
        for before, after in zip(clip.unbind(1)[:-1], clip.unbind(1)[1:], strict=True):
            rows, columns = slice(2, 14), slice(2, 14)
            moved = before.roll((-down, -right), (1, 2))
            assert torch.equal(after[:, rows, columns], moved[:, rows, columns])
        seen.add(label)
    assert len(seen) > 4


def test_opposite_directions_show_the_same_frames(photos, monkeypatch):
    script = example("train_video")
    labels = iter((4, 0, 0, 7, 0, 0))

    def chosen(*args, **kwargs):
        return torch.tensor(next(labels))

    with monkeypatch.context() as patch:
        patch.setattr(script.torch, "randint", chosen)
        clips = script.MovingCrops(photos, 8, 5, 16, 1, 1, seed=0)
        forward, backward = clips[0][0], clips[0][0]
    assert torch.equal(forward, backward.flip(1))


def test_video_trains_and_converts(photo_zip, tmp_path, capsys):
    tiny = ["--width", "2", "--frames", "4", "--size", "12", "--epochs", "2", "--batch", "8"]
    paths = ["--train", str(photo_zip), "--val", str(photo_zip), "--output", str(tmp_path)]
    example("train_video").main([*paths, *tiny, "--workers", "0", "--directions", "4"])
    lines = capsys.readouterr().out.splitlines()
    assert [line.split()[0] for line in lines[:2]] == ["epoch", "epoch"]
    assert "one-hot gates 20/20" in lines[1]
    assert lines[-1].endswith("verified: True")


def test_r3d_18_gets_ssn_layers():
    model = example("train_video").video_network(None, 4)
    layers = [m for m in model.modules() if type(m).__name__ == "SSN3d"]
    assert len(layers) == 20
    assert sum(not layer.weight.any() for layer in layers) == 8
