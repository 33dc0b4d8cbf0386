"""The folder that the commands of the pages run in, and how they are run.

It has what a reader has: the repository's ``examples/``, checkpoints, images, and two reports.
The checkpoints are of :mod:`page_network`; those of ``runs/``, which other processes convert, are
of the network of the demonstration.
"""

from __future__ import annotations

import doctest
import json
import os
import re
import shlex
import subprocess
import sys
import zipfile
from pathlib import Path

import page_network
import torch
from cli_checks import run_cli
from page_blocks import REPOSITORY, Block, commands, prompts
from page_network import INPUT_SIZE, NAME, Network, as_trained
from PIL import Image
from report_runs import RESNET18, layers, run
from sybil import Example
from sybil.evaluators.python import PythonEvaluator

from ssn_prune import export_onnx, prune
from ssn_prune.architectures.digits import DigitsNet
from ssn_prune.architectures.registry import DEMO_NETWORK
from ssn_prune.demo.digits import load_digits
from ssn_prune.reporting.formats.html import html

IMAGES = 12
"""Images of each digit."""
_SHELL = re.compile(r"[|&;<>$`*?(){}]")
_OUTPUT = doctest.OutputChecker()
_ANY = doctest.ELLIPSIS | doctest.NORMALIZE_WHITESPACE


def write_folder(folder: Path) -> None:
    """Make the files that the pages name.

    Args:
        folder: Exists and is empty.
    """
    for name in ("examples", "benchmarks", "tests"):
        (folder / name).symlink_to(REPOSITORY / name)
    (folder / "runs").mkdir()
    for seed, name in enumerate(("model", "epoch10", "epoch20")):
        content = {"model": NAME, "state_dict": as_trained(Network, seed).state_dict()}
        torch.save(content, folder / f"{name}.pth")
    _write_demo(folder / "ssn_prune_demo")
    for seed, name in enumerate(("one", "two")):
        content = {"model": DEMO_NETWORK, "state_dict": as_trained(DigitsNet, seed).state_dict()}
        torch.save(content, folder / "runs" / f"{name}.pth")
    _write_images(folder / "photos")
    with zipfile.ZipFile(folder / "photos.zip", "w") as archive:
        for file in sorted((folder / "photos").rglob("*.png")):
            archive.write(file, file.relative_to(folder / "photos"))
    (folder / "old.json").write_text(json.dumps(run().document()))
    (folder / "new.html").write_text(html(run(layers=layers(RESNET18[::-1]))))


def _write_demo(folder: Path) -> None:
    """What `ssn-prune demo` leaves, of the small network."""
    folder.mkdir()
    network = as_trained(Network, 0)
    content = {"model": NAME, "state_dict": network.state_dict()}
    torch.save(content, folder / "digits.pth")
    images = torch.zeros(2, *INPUT_SIZE)
    export_onnx(prune(network, images).model, images, folder / "digits.onnx")


def _write_images(folder: Path) -> None:
    """Digits as PNG files, a folder a class."""
    digits = load_digits()
    for digit in range(10):
        (folder / str(digit)).mkdir(parents=True)
        images = digits.test_images[digits.test_labels == digit][:IMAGES]
        for index, image in enumerate(images):
            pixels = ((image[0] + 1) * 127.5).round().to(torch.uint8).numpy()
            Image.fromarray(pixels).save(folder / str(digit) / f"{index}.png")


def run_commands(block: Block, folder: Path) -> None:
    """Run a block of commands; every one must end as its page says.

    Commands of the package alone run in this process, where torch is imported already.
    """
    status = int(block.markers.get("exit", "0"))
    if block.language == "console":
        for command, expected in prompts(block):
            printed = _run(command, folder, status)
            assert _OUTPUT.check_output(expected, printed, _ANY), f"{block}\nprinted:\n{printed}"
        return
    lines = commands(block)
    if all(line.startswith("ssn-prune ") and not _SHELL.search(line) for line in lines):
        for line in lines:
            _in_process(line, folder, status)
    else:
        _in_bash(block.text, folder, status)


def _run(command: str, folder: Path, status: int) -> str:
    simple = command.startswith("ssn-prune ") and not _SHELL.search(command)
    return (_in_process if simple else _in_bash)(command, folder, status)


def _in_process(command: str, folder: Path, status: int) -> str:
    before = Path.cwd()
    os.chdir(folder)
    try:
        done = run_cli(*shlex.split(command)[1:])
    finally:
        os.chdir(before)
    assert done.exit_code == status, f"{command}\n{done.output}"
    return done.stdout


def _in_bash(script: str, folder: Path, status: int) -> str:
    """As typed, with this Python and ``ssn-prune`` on the path."""
    programs = folder / ".programs"
    if not programs.exists():
        programs.mkdir()
        programs_of = {
            "python": "",
            "ssn-prune": f"'{page_network.__file__}'",
            "torchrun": "-m torch.distributed.run",
        }
        for name, words in programs_of.items():
            file = programs / name
            file.write_text(f'#!/bin/sh\nexec "{sys.executable}" {words} "$@"\n')
            file.chmod(0o755)
    paths = (str(REPOSITORY), str(REPOSITORY / "tests/support"), os.environ.get("PYTHONPATH", ""))
    environment = os.environ | {
        "PATH": f"{programs}{os.pathsep}{os.environ['PATH']}",
        "PYTHONPATH": os.pathsep.join(filter(None, paths)),
        "OMP_NUM_THREADS": "1",
    }
    done = subprocess.run(
        ["bash", "-euo", "pipefail", "-c", script],
        cwd=folder,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
        timeout=300,
    )
    assert done.returncode == status, f"{script}\n{done.stdout}\n{done.stderr}"
    return done.stdout


def run_python(example: Example) -> None:
    """Run a Python block in what its page has defined so far."""
    PythonEvaluator()(example)
