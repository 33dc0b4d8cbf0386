"""Preprocessing in options, in files, and as a part of files."""

from __future__ import annotations

import json
from pathlib import Path

import onnx
import pytest
import torch
from helpers import tiny_network

from ssn_prune import (
    ArgumentError,
    ConvertOptions,
    LoadedCheckpoint,
    VerificationError,
    convert,
    dry_run,
    load_checkpoint,
)
from ssn_prune.benchmarking.bench import bench
from ssn_prune.benchmarking.records import BenchOptions
from ssn_prune.conversion import verify_file
from ssn_prune.images.preprocessing import Preprocessing
from ssn_prune.onnx_export.targets import TARGETS
from ssn_prune.runtime.stored_metadata import PREPROCESSING_KEY, preprocessing_in
from ssn_prune.verification.facts import file_facts

UNCHECKED = {"algebra": False, "rounding": False}
EMBEDDED = ConvertOptions(mean=(0.4,), std=(0.3,), embed_preprocessing=True)


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    return tmp_path_factory.mktemp("preprocessing")


@pytest.fixture(scope="module")
def loaded(folder) -> LoadedCheckpoint:
    torch.save(tiny_network().state_dict(), folder / "net.pth")
    return load_checkpoint(folder / "net.pth", arch="helpers:TinyNetwork")


@pytest.fixture(scope="module")
def pixels(folder, loaded) -> Path:
    convert(loaded, folder / "pixels.onnx", EMBEDDED)
    return folder / "pixels.onnx"


def stored(path: Path) -> dict[str, str]:
    return {entry.key: entry.value for entry in onnx.load(path).metadata_props}


def test_what_is_given_is_stored_and_reported(loaded, tmp_path):
    options = ConvertOptions(mean=(0.4,), std=(0.3,), resize=9, preprocessing="grey", **UNCHECKED)
    report = convert(loaded, tmp_path / "m.onnx", options)
    how = Preprocessing((1, 8, 8), (0.4,), (0.3,), 9)
    found = stored(tmp_path / "m.onnx")
    assert report.preprocessing == how
    assert preprocessing_in(found).how == how
    assert json.loads(found[PREPROCESSING_KEY])["embedded"] is False
    assert found["ssn_prune.preprocessing_note"] == "grey"
    assert file_facts(tmp_path / "m.onnx", 60).embedded is None


def test_nothing_is_stored_of_what_nobody_knows(loaded, tmp_path):
    report = convert(loaded, tmp_path / "m.onnx", ConvertOptions(**UNCHECKED))
    assert report.preprocessing is None
    assert PREPROCESSING_KEY not in stored(tmp_path / "m.onnx")


def test_a_file_that_takes_pixels_is_verified_as_it_says(loaded, pixels):
    report = verify_file(loaded, pixels, ConvertOptions(), runtimes=["openvino"])
    assert report.verification.passed
    assert report.verification.rounding.bound < 1e-4
    assert [check.runtime for check in report.verification.runtimes] == ["openvino"]


@pytest.mark.parametrize("given", [{"mean": (0.41,)}, {"std": (0.31,)}])
def test_another_preprocessing_than_that_of_the_file_is_found(loaded, pixels, given):
    with pytest.raises(VerificationError, match="does not give the original's outputs"):
        verify_file(loaded, pixels, ConvertOptions(algebra=False, **given))


def test_a_file_with_open_sizes_can_take_pixels(loaded, tmp_path):
    options = ConvertOptions(mean=(0.4,), std=(0.3,), embed_preprocessing=True, dynamic="spatial")
    report = convert(loaded, tmp_path / "m.onnx", options)
    assert report.verification.passed
    assert report.onnx.inputs["input"][2:] == ["height", "width"]


def test_layers_inside_a_file_that_takes_pixels_are_measured(loaded, tmp_path):
    options = ConvertOptions(mean=(0.4,), std=(0.3,), embed_preprocessing=True, every_layer=True)
    report = convert(loaded, tmp_path / "m.onnx", options)
    assert all(layer.error <= layer.bound for layer in report.verification.rounding.layers)
    assert report.verification.rounding.layers


def test_a_file_that_takes_pixels_can_be_measured(pixels):
    found = bench({"pruned": pixels}, BenchOptions(runs=2))
    assert found.networks[0].median_ms > 0


@pytest.mark.parametrize("target", [entry.name for entry in TARGETS])
def test_only_runtimes_that_were_seen_to_take_pixels_get_them(loaded, target):
    options = ConvertOptions(
        mean=(0.4,), std=(0.3,), embed_preprocessing=True, target=target, **UNCHECKED
    )
    if target not in ("ncnn", "tflite"):
        assert dry_run(loaded, options).onnx.types["input"] == "uint8"
    else:
        with pytest.raises(ArgumentError, match="does not take files with pixels"):
            dry_run(loaded, options)


def test_a_torch_program_takes_no_pixels(loaded, tmp_path):
    with pytest.raises(ArgumentError, match="only ONNX files"):
        convert(loaded, tmp_path / "m.pt2", EMBEDDED)
    assert not (tmp_path / "m.pt2").exists()


@pytest.mark.parametrize(
    "options",
    [ConvertOptions(embed_preprocessing=True), ConvertOptions(resize=8)],
    ids=["embedded", "resized"],
)
def test_an_unknown_preprocessing_is_asked_for(loaded, tmp_path, options):
    with pytest.raises(ArgumentError, match="not known") as caught:
        convert(loaded, tmp_path / "m.onnx", options)
    assert "`mean=0.5`" in caught.value.hint


def test_a_network_of_vectors_takes_no_images(tmp_path):
    from ssn_prune import SSN1d

    network = torch.nn.Sequential(torch.nn.Linear(4, 4), SSN1d(4)).eval()
    loaded = LoadedCheckpoint(network, (4,), None)
    with pytest.raises(ArgumentError, match="does not take images"):
        convert(loaded, tmp_path / "m.onnx", ConvertOptions(mean=(0.5,), std=(0.5,)))


GOOD = {
    **{"size": [1, 8, 8], "mean": [0.5], "std": [0.5], "resize": None},
    **{"interpolation": "bilinear", "embedded": True},
}
BAD = {
    "no JSON": "{",
    "a list": "[1]",
    "deep nesting": "[" * 100_000,
    "not said whether embedded": json.dumps({**GOOD, "embedded": 1}),
    "two sizes": json.dumps({**GOOD, "size": [8, 8]}),
    "no size": json.dumps({**GOOD, "size": 8}),
    "a negative size": json.dumps({**GOOD, "size": [1, -8, 8]}),
    "a size that is true": json.dumps({**GOOD, "size": [True, 8, 8]}),
    "a huge size": json.dumps({**GOOD, "size": [1, 10**9, 8]}),
    "no mean": json.dumps({**GOOD, "mean": None}),
    "texts": json.dumps({**GOOD, "mean": ["0.5"]}),
    "NaN": json.dumps({**GOOD, "mean": [float("nan")]}),
    "infinity": json.dumps({**GOOD, "std": [float("inf")]}),
    "zero": json.dumps({**GOOD, "std": [0]}),
    "a number without end": json.dumps({**GOOD, "std": [10**400]}),
    "two channels": json.dumps({**GOOD, "mean": [0.5, 0.5]}),
    "a small part": json.dumps({**GOOD, "resize": 4}),
    "a resize that is a text": json.dumps({**GOOD, "resize": "8"}),
    "another filter": json.dumps({**GOOD, "interpolation": "lanczos"}),
    "a filter that is a list": json.dumps({**GOOD, "interpolation": []}),
}


@pytest.mark.parametrize("text", BAD.values(), ids=BAD)
def test_what_is_not_in_our_form_says_nothing(text):
    assert preprocessing_in({PREPROCESSING_KEY: json.dumps(GOOD)}).embedded
    assert preprocessing_in({PREPROCESSING_KEY: text}) is None
