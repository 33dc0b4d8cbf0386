"""``--data``: both networks on images, from the command line to the page."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from cli_checks import ARCH, fails, run_cli
from helpers import tiny_network
from small_images import class_folders

from ssn_prune.cli.exit_codes import FAILURE, USAGE

HALF = ("--mean", "0.5", "--std", "0.5")
UNCHECKED = ("--verify", "none")


@pytest.fixture(scope="module")
def files(tmp_path_factory) -> Path:
    """Images, two networks, and a file of the second one."""
    folder = tmp_path_factory.mktemp("images")
    class_folders(folder / "photos")
    for name, seed in (("net", 0), ("other", 3)):
        torch.save({"state_dict": tiny_network(seed).state_dict()}, folder / f"{name}.pth")
    done = run_cli("convert", str(folder / "other.pth"), *ARCH, *UNCHECKED, *HALF)
    assert done.exit_code == 0, done.stderr
    return folder


@pytest.fixture
def inside(files, tmp_path, monkeypatch) -> Path:
    """An empty folder beside copies of them."""
    for file in files.iterdir():
        (tmp_path / file.name).symlink_to(file)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_convert_says_how_right_both_are(inside):
    result = run_cli("convert", "net.pth", *ARCH, *UNCHECKED, *HALF, "--data", "photos")
    assert result.exit_code == 0, result.stderr
    for text in (
        "12 images of photos",
        "top-1 accuracy",
        "the file gives all images the same class",
        "File minus original: 0 points; the 95 % interval",
        "preprocessing resized to 8x8 (bilinear); (x / 255 - 0.5) / 0.5 of pixels x",
    ):
        assert text in result.stdout


def test_verify_lists_what_differs_and_the_page_shows_it(inside):
    reports = ("--report", "r.json", "--report", "r.html", "--report", "r.md")
    result = run_cli(
        *("verify", "net.pth", "other.onnx", *ARCH, *UNCHECKED),
        *("--data", "photos", "--data-limit", "9", *reports),
    )
    assert result.exit_code == 0, result.stderr
    document = json.loads(Path("r.json").read_text())
    found = document["accuracy"]
    assert (found["images"], found["available"], found["kind"]) == (9, 12, "classes")
    assert found["differing"] == len(found["listed"]) > 0
    assert document["preprocessing"]["mean"] == [0.5]  # as the file says
    first = found["listed"][0]
    assert f"  {first['name']}: is {first['target']}, original {first['original']}" in result.stdout
    page, card = Path("r.html").read_text(), Path("r.md").read_text()
    assert page.count('<img src="data:image/png;base64,') == found["differing"]
    assert "On real images" in page
    assert "On real images" in card
    again = run_cli("report", "r.json", "-o", "again.html")
    assert again.exit_code == 0, again.stderr
    assert Path("again.html").read_bytes() == Path("r.html").read_bytes()


def test_nothing_of_it_is_in_a_document_without_images(inside):
    result = run_cli("verify", "net.pth", "other.onnx", *ARCH, *UNCHECKED, "--json")
    assert "accuracy" not in json.loads(result.stdout)


def test_a_file_can_take_pixels(inside):
    command = ("convert", "net.pth", *ARCH, *UNCHECKED, *HALF, "--embed-preprocessing")
    result = run_cli(*command, "--report", "r.json")
    document = json.loads(Path("r.json").read_text())
    assert document["onnx"]["types"]["input"] == "uint8"
    assert document["options"]["embed_preprocessing"] is True
    assert "the file takes pixels, and computes (x / 255 - 0.5) / 0.5" in result.stdout
    assert "input uint8 (batch, 1, 8, 8)" in result.stdout


def test_a_torch_program_that_was_just_written_is_run(inside):
    command = ("convert", "net.pth", *ARCH, *UNCHECKED, *HALF, "-o", "net.pt2", "--data", "photos")
    result = run_cli(*command)
    assert result.exit_code == 0, result.stderr
    assert "the file gives all images the same class" in result.stdout


@pytest.mark.parametrize(
    ("options", "code", "words"),
    [
        (("--data", "nowhere"), FAILURE, "holds no images"),
        (("--data", "net.pth"), FAILURE, "holds no images"),
        (("--data", "nothing.npz"), FAILURE, "cannot be read"),
        (("--data", "no_module:loader"), FAILURE, "cannot import the loader"),
        (("--data", "photos", "--mean", "half"), USAGE, "not a list of numbers"),
        (("--data", "photos", "--std", "0"), USAGE, "not positive"),
        (("--data", "photos", "--mean", "0.1,0.2"), USAGE, "one number for each channel"),
        (("--data", "photos", "--resize", "4"), USAGE, "--resize 8"),
        (("--data-limit", "3"), USAGE, "--data-limit"),
        (("--data", "photos", "--dry-run"), USAGE, "writes nothing"),
    ],
)
def test_wrong_values_are_typed_errors(inside, options, code, words):
    text, _ = fails(inside, code, "convert", "net.pth", *ARCH, *HALF, *options)
    assert words in text


def test_images_that_turn_out_to_be_damaged_cost_no_model(inside):
    bad = class_folders(inside / "bad")
    (bad / "b" / "1.png").write_bytes(b"no image")
    result = run_cli("convert", "net.pth", *ARCH, *UNCHECKED, *HALF, "--data", "bad")
    assert result.exit_code == FAILURE
    assert "b/1.png" in result.stderr
    assert "net.onnx was written" in result.stderr
    assert Path("net.onnx").is_file()
