"""``search`` from the command line to the files."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import numpy as np
import onnxruntime
import pytest
import torch
from cli_checks import ARCH, fails, run_cli
from helpers import one_hot_gates, tiny_network
from PIL import Image
from small_images import class_folders, noise
from torch import nn

from ssn_prune import conversion, load_checkpoint, select
from ssn_prune.cli import searching as cli_searching
from ssn_prune.cli.exit_codes import FAILURE, USAGE, VERIFICATION
from ssn_prune.conversion import on_images
from ssn_prune.costs.cache import default_cache
from ssn_prune.costs.records import SCHEMA_VERSION, Costs, LayerPairCost, LayerShapes
from ssn_prune.environment import processor_name
from ssn_prune.errors import OutputError, SearchError, VerificationError
from ssn_prune.json_values import to_json
from ssn_prune.normalizer import ALL_PAIRS
from ssn_prune.searching import journal as journals
from ssn_prune.searching import search as searching
from ssn_prune.searching.search import SearchResult

HALF = ("--mean", "0.5", "--std", "0.5")
SEARCH = ("search", "net.pth", *ARCH, "--data", "photos", *HALF, "--costs", "costs.json")
QUICK = ("--runs", "3", "--points", "3")


def costs() -> Costs:
    """As if every statistic at run time cost a tenth of the network."""
    layers = {"sn1": 1.0, "sn2": 0.5}
    return Costs(
        schema_version=SCHEMA_VERSION,
        date="2026-01-01T00:00:00+00:00",
        runtime=f"ONNX Runtime {onnxruntime.__version__}",
        processor=processor_name(),
        provider="CPUExecutionProvider",
        threads=1,
        batch=1,
        target="portable",
        input_sizes=((1, 8, 8),),
        norm_free_ms=10.0,
        shapes=tuple(LayerShapes(name, ((1, 4, 8, 8),)) for name in layers),
        layers=tuple(
            LayerPairCost(name, pair, unit * sum(n.name != "BN" for n in (pair.mean, pair.var)))
            for name, unit in layers.items()
            for pair in ALL_PAIRS
        ),
    )


@pytest.fixture(scope="module")
def files(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("search")
    class_folders(folder / "photos", each=24)
    class_folders(folder / "others", each=5, first=100)
    model = tiny_network()
    one_hot_gates(model.sn2, 1, 0)
    torch.save({"state_dict": model.state_dict()}, folder / "net.pth")
    (folder / "costs.json").write_text(json.dumps(to_json(costs())))
    return folder


@pytest.fixture
def inside(files, tmp_path, monkeypatch) -> Path:
    for file in files.iterdir():
        (tmp_path / file.name).symlink_to(file)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_a_search_writes_a_verified_file_a_checkpoint_and_a_report(inside):
    result = run_cli(
        *SEARCH, *QUICK, "--max-drop", "100", "-o", "lean.onnx", "--save", "chosen.pth",
        "--report", "r.json", "--report", "r.html", "--test-data", "others",
    )  # fmt: skip
    assert result.exit_code == 0, result.stderr
    said = ("Pareto front", "2 of 2 layers have another pair", "IN/BN to BN/BN", "15 unseen images")
    for text in said:
        assert text in result.stdout
    assert "Another network:" in Path("r.html").read_text()
    document = json.loads(Path("r.json").read_text())
    search = document["search"]
    assert search["images"] == {"calibration": 24, "search": 48, "test": 15}
    assert [len(point["changes"]) for point in search["front"]][:: len(search["front"]) - 1] == [
        0,
        2,
    ]
    assert document["verification"]["rounding"]["passed"]
    chosen = load_checkpoint("chosen.pth", arch=ARCH[1])
    assert [str(layer.pair) for layer in select(chosen.model).layers] == ["BN/BN", "BN/BN"]
    verified = run_cli("verify", "chosen.pth", "lean.onnx", *ARCH)
    assert verified.exit_code == 0, verified.stderr
    assert sorted(p.name for p in inside.iterdir() if not p.is_symlink()) == [
        *("chosen.pth", "lean.onnx", "r.html", "r.json"),
    ]


def test_costs_of_a_board_decide_for_the_board(inside):
    there = replace(costs(), processor="a [board]", threads=4)
    Path("there.json").write_text(json.dumps(to_json(there)))
    command = (*SEARCH[:-1], "there.json", *QUICK, "-o", "lean.onnx", "--report", "r.json")
    result = run_cli(*command, "--budget", "1.01", "--report", "r.html")
    assert result.exit_code == 0, result.stderr
    said = " ".join(result.stdout.split())
    assert "= 1 (predicted)" in said
    assert "on a [board] (CPUExecutionProvider, 4 threads" in said
    assert "nothing was timed here" in Path("r.html").read_text()
    search = json.loads(Path("r.json").read_text())["search"]
    assert "a [board]" in search["predicted_for"]
    assert search["front"][search["chosen"]]["predicted_ratio"] <= 1.01


def test_a_bound_that_other_images_refute_has_an_exit_code(inside):
    """Dark images, in the classes that the original gives them: only its own statistics do."""
    network = load_checkpoint("net.pth", arch=ARCH[1]).model
    images = [noise(index) // 8 for index in range(60)]
    with torch.no_grad():
        outputs = network(torch.tensor(np.stack(images))[:, None] / 127.5 - 1)
        network.fc.bias -= outputs.mean(0)  # so that each class has some
        labels = (outputs - outputs.mean(0)).argmax(1)
    for index, (image, label) in enumerate(zip(images, labels, strict=True)):
        (Path("dark") / "abc"[label]).mkdir(parents=True, exist_ok=True)
        Image.fromarray(image).save(Path("dark") / "abc"[label] / f"{index}.png")
    Path("net.pth").unlink()
    torch.save({"state_dict": network.state_dict()}, "net.pth")
    command = (*SEARCH, *QUICK, "--max-drop", "30", "-o", "lean.onnx", "--report", "r.json")
    result = run_cli(*command, "--test-data", "dark")
    assert result.exit_code == VERIFICATION, result.stderr
    assert "does not hold" in result.stdout
    document = json.loads(Path("r.json").read_text())
    assert document["search"]["test"]["difference"]["upper"] < -0.3
    assert Path("lean.onnx").is_file()  # what the report describes


def test_a_search_that_was_stopped_goes_on(inside, monkeypatch):
    def stopped(*_arguments):
        raise KeyboardInterrupt

    options = (*SEARCH, *QUICK, "--max-drop", "100", "-o", "lean.onnx")
    with monkeypatch.context() as patch:
        patch.setattr(searching, "measure_points", stopped)
        assert run_cli(*options).exit_code != 0
    (journal,) = (Path(os.environ["XDG_CACHE_HOME"]) / "ssn_prune" / "searches").iterdir()
    lines = journal.read_text().splitlines()
    assert len(lines) > 3
    journal.write_text("\n".join([*lines, '{"joint": [["sn1"']))  # killed while it wrote
    calls = []
    measure = searching.Evaluator.measure

    def counted(self, candidates, step=lambda: None):
        calls.extend(candidates)
        return measure(self, candidates, step)

    monkeypatch.setattr(searching.Evaluator, "measure", counted)
    result = run_cli(*options)
    assert result.exit_code == 0, result.stderr
    assert len(calls) == len(set(calls))
    assert not any(len(changes) == 1 and str(changes) in str(lines) for changes in calls)
    assert not journal.exists()


def test_class_folders_of_another_task_are_refused_before_the_search(inside):
    class_folders(Path("two"), ("a", "b"), each=24)
    command = [*SEARCH, *QUICK, "-o", "lean.onnx"]
    command[command.index("photos")] = "two"
    message, _ = fails(inside, FAILURE, *command)
    assert "the images have 2 classes, and the network 3 outputs" in message
    other = (*SEARCH, *QUICK, "-o", "lean.onnx", "--test-data", "two")
    message, _ = fails(inside, FAILURE, *other)
    assert "the images have 2 classes, and the network 3 outputs" in message


WITHOUT_COSTS = SEARCH[: SEARCH.index("--costs")]


def test_costs_are_measured_after_the_images_were_read(inside, monkeypatch):
    """Once, with the times that are kept for the next run."""
    asked = []

    def measure(*_arguments, cache, **_how):
        asked.append(cache)
        raise SearchError("measured", expected="", found="", hint="")

    monkeypatch.setattr(searching, "measure_costs", measure)
    command = (*WITHOUT_COSTS, *QUICK, "--max-drop", "100", "-o", "lean.onnx")
    message, _ = fails(inside, FAILURE, *command, "--data", "others")
    assert "15 images are too few" in message
    class_folders(Path("damaged"), each=24)
    Path("damaged/a/0.png").write_bytes(b"no image")
    message, _ = fails(inside, FAILURE, *command, "--data", "damaged")
    assert "0.png" in message
    assert not asked
    assert run_cli(*command).exit_code == FAILURE
    assert asked == [default_cache()]


@pytest.mark.parametrize(
    ("options", "code", "words"),
    [
        (("-o", "x.tflite"), USAGE, "no name for an exported file"),
        (("-o", "x.pth"), USAGE, "no name for an exported file"),
        (("-o", "missing/x.onnx"), FAILURE, "does not exist"),
        (("-o", "x.onnx", "--save", "chosen.onnx"), USAGE, "no name for a checkpoint"),
        (("-o", "x.onnx", "--save", "chosen.safetensors"), USAGE, "no name for a checkpoint"),
    ],
)
def test_names_of_outputs_are_refused_before_the_images_are_read(
    inside, monkeypatch, options, code, words
):
    monkeypatch.setattr(on_images, "open_for", None)
    message, _ = fails(inside, code, *SEARCH, *QUICK, *options)
    assert words in message


@pytest.mark.parametrize(
    ("journal", "words"), [("missing/j", "does not exist"), ("weights.pth", "cannot be read")]
)
def test_a_wrong_journal_is_refused_before_the_images_are_read(inside, monkeypatch, journal, words):
    monkeypatch.setattr(searching, "read_all", None)
    Path("weights.pth").write_bytes(b"\x80")
    message, _ = fails(inside, FAILURE, *SEARCH, *QUICK, "--journal", journal)
    assert words in message


def test_a_search_goes_on_without_a_journal_in_the_cache(inside, monkeypatch, tmp_path):
    assert cli_searching._journals().name == "searches"
    (tmp_path / "file").touch()
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "file"))
    assert cli_searching._journals() is None

    def full(_journal):
        raise OutputError("full")

    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "other"))
    monkeypatch.setattr(journals, "require_journal", full)
    assert cli_searching._journals() is None


@pytest.mark.parametrize(
    ("given", "outputs"),
    [
        ("--costs", ("--save", "costs.json")),
        ("--costs", ("--report", "./costs.json")),
        ("--costs", ("--journal", "costs.json")),
        ("--data", ("--save", "p.zip", "--data", "p.zip")),
        ("--data", ("--save", "p.zip", "--data", "p.zip/photos")),
        ("--test-data", ("-o", "x.npz", "--test-data", "x.npz")),
    ],
)
def test_no_output_replaces_what_is_read(inside, given, outputs):
    Path("p.zip").write_bytes(b"images")
    message, _ = fails(inside, FAILURE, *SEARCH, *QUICK, "-o", "lean.onnx", "--force", *outputs)
    assert f"would replace {given}" in message


@pytest.mark.parametrize("failure", [VerificationError, OutputError, KeyboardInterrupt])
def test_a_search_whose_result_is_not_written_keeps_its_journal(inside, monkeypatch, failure):
    def searched(loaded, *_images, journal, keep_journal, **_how):
        assert keep_journal
        journal.write_text("measured")
        return SearchResult(loaded, None, None, journal)

    def convert(*_arguments, **_how):
        if failure is VerificationError:
            raise VerificationError("no", layer=None, expected="", found="")
        raise failure("no")

    monkeypatch.setattr(searching, "search", searched)
    monkeypatch.setattr(conversion, "convert", convert)
    result = run_cli(*SEARCH, *QUICK, "-o", "x.onnx", "--journal", "mine")
    assert result.exit_code != 0
    assert Path("mine").read_text() == "measured"


def test_running_sums_are_refused_before_the_search(inside):
    model = tiny_network()
    one_hot_gates(model.sn2, 1, 0)
    state = {k: v * 5000 if "running_" in k else v for k, v in model.state_dict().items()}
    torch.save({"state_dict": state}, "sums.pth")
    message, _ = fails(inside, FAILURE, "search", "sums.pth", *SEARCH[2:], *QUICK)
    assert "sums" in message
    assert "--trust-running-statistics" in message


def test_the_journal_of_another_search_is_refused_with_a_cure_that_works(inside):
    Path("lean.search").write_text('{"search": {"version": "0"}}\n')
    options = (*SEARCH, *QUICK, "-o", "lean.onnx")
    message, _ = fails(inside, FAILURE, *options, "--journal", "lean.search")
    for text in ("not the journal of this search", "another search", "--journal"):
        assert text in message
    assert run_cli(*options, "--journal", "other.search").exit_code == 0


def test_distillation_is_tried_on_faster_networks(inside):
    result = run_cli(
        *SEARCH, *QUICK, "--max-drop", "0.01", "--finetune-steps", "2", "--json", "-o", "l.onnx"
    )
    assert result.exit_code == 0, result.stderr
    search = json.loads(result.stdout)["search"]
    assert search["options"]["finetune_steps"] == 2


def test_a_dry_run_shows_costs_and_writes_nothing(inside):
    result = run_cli(*SEARCH, "--dry-run")
    assert result.exit_code == 0, result.stderr
    assert "normalization costs 20.0%" in result.stdout
    assert all(path.is_symlink() for path in inside.iterdir())


@pytest.mark.parametrize("option", [("--report", "r.html"), ("--save", "c.pth")])
def test_a_dry_run_takes_no_files_to_write(inside, option):
    message, _ = fails(inside, USAGE, *SEARCH, "--dry-run", *option)
    assert f"leave {option[0]} out" in message


@pytest.mark.parametrize(
    ("options", "code", "texts"),
    [
        (("--budget", "0.5"), FAILURE, ("no network is as fast as 0.5", "--budget")),
        (("--data", "none"), FAILURE, ("none",)),
        (("--data", "others"), FAILURE, ("15 images are too few", "32 images or more")),
        (("--max-drop", "-1"), USAGE, ("max-drop",)),
        *((("--budget", text), USAGE, ("--budget", "above 0")) for text in ("0", "-1", "nan")),
        (("--static-batch", "4"), USAGE, ("--batch 4",)),
        (("--costs", "net.pth"), FAILURE, ("net.pth",)),
        (("--memory", "0"), USAGE, ("memory",)),
    ],
)
def test_wrong_inputs_are_refused(inside, options, code, texts):
    command = (*SEARCH, *QUICK, "-o", "lean.onnx", *options)
    if code == USAGE:
        result = run_cli(*command)
        assert result.exit_code == USAGE
        message = result.stderr
    else:
        message, _ = fails(inside, FAILURE, *command)
    assert not Path("lean.onnx").exists()
    for text in texts:
        assert text in message


def test_nothing_to_choose_is_said(inside):
    model = tiny_network()
    one_hot_gates(model.sn1, 2, 2)
    torch.save({"state_dict": model.state_dict()}, "bn.pth")
    command = ("search", "bn.pth", *SEARCH[2:])
    message, _ = fails(inside, FAILURE, *command)
    assert "no layer has a cheaper pair" in message
    assert "convert the network as it is" in message


class Ordinary(nn.Module):
    """A network with InstanceNorm of somebody's own."""

    input_size = (1, 8, 8)

    def __init__(self) -> None:
        super().__init__()
        self.conv1, self.sn1 = nn.Conv2d(1, 4, 3, padding=1), nn.InstanceNorm2d(4, affine=True)
        self.conv2, self.sn2 = nn.Conv2d(4, 4, 3, padding=1), nn.GroupNorm(1, 4)
        self.fc = nn.Linear(4, 3)

    def forward(self, x):
        x = torch.relu(self.sn1(self.conv1(x)))
        return self.fc(torch.relu(self.sn2(self.conv2(x))).mean(dim=(2, 3)))


def test_an_ordinary_network_can_be_searched(inside):
    torch.manual_seed(0)
    torch.save({"state_dict": Ordinary().state_dict()}, "plain.pth")
    arch = ("--arch", "test_search:Ordinary")
    command = ("search", "plain.pth", *arch, *SEARCH[4:], *QUICK)
    sys.modules["test_search"] = sys.modules[__name__]
    try:
        result = run_cli(*command, "--max-drop", "100")
        assert result.exit_code == 0, result.stderr
        assert "IN/IN to" in result.stdout
        message, _ = fails(inside, FAILURE, *command, "--save", "c.pth", "-o", "other.onnx")
        assert "cannot be saved" in message
    finally:
        del sys.modules["test_search"]


def free_port() -> str:
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        return str(found.getsockname()[1])


@pytest.mark.parametrize("size", ["2", "two"])
def test_a_process_that_torchrun_did_not_start_is_told_so(inside, monkeypatch, size):
    monkeypatch.setenv("WORLD_SIZE", size)
    for name in ("RANK", "MASTER_ADDR", "MASTER_PORT"):
        monkeypatch.delenv(name, raising=False)
    message, _ = fails(inside, USAGE, *SEARCH)
    for text in (f"WORLD_SIZE={size}, RANK=unset", "MASTER_ADDR", "unset WORLD_SIZE"):
        assert text in message


def test_a_process_whose_others_do_not_come_ends(inside, monkeypatch):
    monkeypatch.setattr(cli_searching, "_JOINING", timedelta(seconds=0.5))
    rendezvous = {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": free_port()}
    for name, value in {"WORLD_SIZE": "2", "RANK": "0", **rendezvous}.items():
        monkeypatch.setenv(name, value)
    result = run_cli(*SEARCH)
    assert result.exit_code == USAGE
    assert "RANK=0, MASTER_ADDR=127.0.0.1" in result.stderr


@pytest.mark.parametrize("size", ["", "1"])
def test_one_process_alone_joins_no_group(inside, monkeypatch, size):
    monkeypatch.setenv("WORLD_SIZE", size)
    assert run_cli(*SEARCH, "--dry-run").exit_code == 0


def test_processes_share_the_work_and_agree(inside):
    """Two of them find what one finds."""
    port = free_port()
    options = (*SEARCH, *QUICK, "--max-drop", "100", "--json")
    command = [sys.executable, "-m", "ssn_prune", *options, "-o", "two.onnx"]
    rendezvous = {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": port, "WORLD_SIZE": "2"}
    path = {"PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
    running = [
        subprocess.Popen(
            command,
            env={**os.environ, **path, **rendezvous, "RANK": str(rank), "LOCAL_RANK": str(rank)},
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        for rank in range(2)
    ]
    (first, errors), (second, other_errors) = (p.communicate(timeout=240) for p in running)
    assert [p.returncode for p in running] == [0, 0], errors + other_errors
    assert second == ""
    alone = run_cli(*options, "-o", "one.onnx")
    two, one = (json.loads(text)["search"] for text in (first, alone.stdout))
    for found, expected in zip(two["singles"], one["singles"], strict=True):
        assert found["harm"] == pytest.approx(expected["harm"], rel=1e-5)
    chosen = [[c["layer"] for c in s["front"][s["chosen"]]["changes"]] for s in (two, one)]
    assert chosen[0] == chosen[1]
