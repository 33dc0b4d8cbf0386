"""The folder that the commands of the pages run in, and how they are run.

It has what a reader has: the repository's ``examples/``, checkpoints, images, and two reports.
The checkpoints hold the network of :mod:`page_network`, except that of ``runs/``, which another
process converts, and the one that the demo leaves in ``ssn_prune_demo/``.
"""

from __future__ import annotations

import ast
import doctest
import json
import os
import re
import shlex
import subprocess
import sys
import typing
import zipfile
from pathlib import Path

import page_network
import torch
from cli_checks import run_cli
from page_blocks import REPOSITORY, Block, commands, prompts
from page_network import NAME, Network, as_trained
from PIL import Image
from report_runs import RESNET18, layers, run
from sybil import Example
from sybil.evaluators.python import PythonEvaluator

from ssn_prune.architectures.digits import DigitsNet
from ssn_prune.architectures.registry import DEMO_NETWORK
from ssn_prune.demo.digits import load_digits
from ssn_prune.reporting.formats.html import html

IMAGES = 12
"""Images of each digit."""
PROGRAMS = {
    "python": "",
    "ssn-prune": f"'{page_network.__file__}'",
    "torchrun": "-m torch.distributed.run",
}
"""What to run with this Python, by program name."""
_SIMPLE = re.compile(r"ssn-prune [^|&;<>$`*?(){}]+((?<=\s)> \S+)?")
"""A command of the package, whose output may go to a file."""
_OUTPUT = doctest.OutputChecker()
_ANY = doctest.ELLIPSIS | doctest.NORMALIZE_WHITESPACE


def write_folder(folder: Path) -> None:
    """Create the files that the pages name.

    Args:
        folder: Exists and is empty.
    """
    for name in ("examples", "benchmarks", "tests"):
        (folder / name).symlink_to(REPOSITORY / name)
    for seed, name in enumerate(("model", "epoch10", "epoch20")):
        content = {"model": NAME, "state_dict": as_trained(Network, seed).state_dict()}
        torch.save(content, folder / f"{name}.pth")
    content = {"model": DEMO_NETWORK, "state_dict": as_trained(DigitsNet, 0).state_dict()}
    for name in ("ssn_prune_demo/digits.pth", "runs/first.pth"):
        (folder / name).parent.mkdir()
        torch.save(content, folder / name)
    demo = "ssn_prune_demo/digits"
    report = f"--report {demo}.html --report {demo}.json --quiet --verify none"
    _in_process(f"ssn-prune convert {demo}.pth -o {demo}.onnx {report}", folder, 0)
    _write_images(folder / "photos")
    with zipfile.ZipFile(folder / "photos.zip", "w") as archive:
        for file in sorted((folder / "photos").rglob("*.png")):
            archive.write(file, file.relative_to(folder / "photos"))
    (folder / "old.json").write_text(json.dumps(run().document()))
    (folder / "new.html").write_text(html(run(layers=layers(RESNET18[::-1]))))


def _write_images(folder: Path) -> None:
    """Digits as PNG files, one folder per class."""
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
    if all(_SIMPLE.fullmatch(line) for line in lines):
        for line in lines:
            _in_process(line, folder, status)
    else:
        _in_bash(block.text, folder, status)


def _run(command: str, folder: Path, status: int) -> str:
    return (_in_process if _SIMPLE.fullmatch(command) else _in_bash)(command, folder, status)


def _in_process(command: str, folder: Path, status: int) -> str:
    before = Path.cwd()
    os.chdir(folder)
    try:
        words, _, target = command.partition(">")
        done = run_cli(*shlex.split(words)[1:])
        if target:
            Path(target.strip()).write_text(done.stdout, encoding="utf-8")
    finally:
        os.chdir(before)
    assert done.exit_code == status, f"{command}\n{done.output}"
    return done.stdout


def _in_bash(script: str, folder: Path, status: int) -> str:
    """As typed, with this Python and ``ssn-prune`` on the path."""
    programs = folder / ".programs"
    if not programs.exists():
        programs.mkdir()
        for name, words in PROGRAMS.items():
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
    """Run a Python block with the names that its page has defined; check its annotations."""
    PythonEvaluator()(example)
    for node in ast.walk(ast.parse(example.parsed)):
        if isinstance(node, ast.AnnAssign) and isinstance(node.target, ast.Name):
            value = example.namespace[node.target.id]
            kind = eval(ast.unparse(node.annotation), dict(example.namespace))
            item = typing.get_args(kind)[0] if typing.get_origin(kind) is tuple else None
            fits = isinstance(value, kind if item is None else tuple)
            assert fits, f"{ast.unparse(node)}: {value}"
            assert item is None or all(isinstance(v, item) for v in value), ast.unparse(node)
