"""The classification example: data, bit for bit resume, options, and what convert needs."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from costs_samples import cheap_costs
from torch.utils.data import DataLoader
from training_samples import assert_same, classify, example

from ssn_prune import GateRecords, SSN2d, select
from ssn_prune.cli.app import app
from ssn_prune.costs.records import FREE
from ssn_prune.errors import ArgumentError, DataError
from ssn_prune.json_values import to_json
from ssn_prune.normalizer import ALL_PAIRS

pytestmark = pytest.mark.usefixtures("importable_examples")


# Images


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
    with pytest.raises((ArgumentError, DataError), match=r"given"):
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
    with pytest.raises(ArgumentError, match="other settings") as error:
        classify(photo_zip, tmp_path, "--epochs", "2", "--seed", "3", *resume)
    assert (error.value.expected, error.value.found) == ("epochs 1, seed 0", "epochs 2, seed 3")
    torch.save({"state_dict": {}}, tmp_path / "weights.pth")
    with pytest.raises(ArgumentError, match="not a training"):
        classify(photo_zip, tmp_path, "--resume", str(tmp_path / "weights.pth"))


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (("--radius-end", "0.7"), "leaves gates that are not one-hot"),
        (("--freeze-selected", "--norm", "bn"), "SSN layers in a single process"),
        (("--sync-statistics", "--norm", "bn"), "SSN and SN layers"),
    ],
)
def test_contradicting_options_are_refused(photo_zip, tmp_path, capsys, options, said):
    with pytest.raises(SystemExit):
        classify(photo_zip, tmp_path, *options)
    assert said in capsys.readouterr().err


def test_unusable_networks_and_too_few_images_are_refused(photo_zip, tmp_path):
    with pytest.raises(ArgumentError, match="has ssn layers, not sn"):
        classify(photo_zip, tmp_path, "--arch", "resnetv1ssn18", "--norm", "sn")
    with pytest.raises(ArgumentError, match="cannot be trained here"):
        classify(photo_zip, tmp_path, "--arch", "helpers:tiny_network")
    with pytest.raises(ArgumentError, match="too few images"):
        classify(photo_zip, tmp_path, "--limit", "5")


def test_convert_needs_nothing_but_the_checkpoint(photo_zip, tmp_path, capsys):
    options = ("--arch", "timm:test_resnet", "--size", "160", "--epochs", "1", "--limit", "8")
    classify(photo_zip, tmp_path, *options)
    source, target = str(tmp_path / "checkpoint.pth"), str(tmp_path / "model.onnx")
    said = capsys.readouterr().out.splitlines()[-1]
    assert said == f"convert: ssn-prune convert {source} -o {target}"
    assert app(["convert", source, "-o", target, "--quiet"], standalone_mode=False) in (0, None)
    assert Path(target).exists()


def test_training_in_mixed_precision_and_with_sn_converts(photo_zip, tmp_path, capsys):
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


def test_gates_settle_on_pairs_that_cost_little(photos, tmp_path):
    """BN/BN costs nothing and all others the same."""
    model = example("classifiers").network("cifar-resnet", "ssn", 2)
    layers = [name for name, module in model.named_modules() if isinstance(module, SSN2d)]
    shapes = [module.num_features for module in model.modules() if isinstance(module, SSN2d)]
    costs = cheap_costs(layers, dict.fromkeys(ALL_PAIRS, 1.0), norm_free=float(len(layers)))
    places = tuple(
        replace(entry, inputs=((1, count, 8, 8),))
        for entry, count in zip(costs.shapes, shapes, strict=True)
    )
    path = tmp_path / "costs.json"
    path.write_text(json.dumps(to_json(replace(costs, shapes=places))))
    options = ("--latency-weight", "1000", "--costs", str(path))
    found = classify(photos, tmp_path / "out", *options)
    without = classify(photos, tmp_path / "without")

    def free(checkpoint):
        return sum(layer.pair == FREE for layer in select(checkpoint["state_dict"]).layers)

    assert free(found) >= 6
    assert free(without) < free(found)
    assert found["settings"]["latency_weight"] == 1000
    assert not (tmp_path / "out" / "costs.json").exists()


def test_costs_are_measured_once_for_a_training(tmp_path, monkeypatch):
    latency, processes = example("latency_costs"), example("training_loop").Processes
    asked = []

    def measured(model, inputs, *, cache):
        asked.append(tuple(inputs[0].shape))
        return cheap_costs(["a"])

    monkeypatch.setattr(latency, "measure_network_costs", measured)
    own = processes(0, 1, torch.device("cpu"))
    for _ in range(2):
        found = latency.training_costs(torch.nn.Identity(), 32, None, tmp_path / "out", own)
        assert found == cheap_costs(["a"])
    assert asked == [(1, 3, 32, 32)]
