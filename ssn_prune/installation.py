"""What is installed, and what is known to be wrong with it."""

from __future__ import annotations

import re
import subprocess
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from importlib import metadata

from ssn_prune.environment import Environment, environment

_RUNTIMES = (
    *("onnxruntime", "onnxruntime-gpu", "onnxruntime-openvino", "onnxruntime-directml"),
    *("openvino", "opencv-python", "opencv-python-headless", "MNN", "tract", "ncnn", "pnnx"),
    *("onnx2tf", "timm", "safetensors", "triton"),
)
_IMPORTED = ("numpy", "torch", "torchvision", "onnx", "onnxscript", "onnxruntime")
_SECONDS = 300


@dataclass(frozen=True)
class Problem:
    """Something that is wrong.

    Attributes:
        code: Stable name.
        problem: One sentence.
        hint: What to do.
    """

    code: str
    problem: str
    hint: str


@dataclass(frozen=True)
class Installation:
    """The state of an environment.

    Attributes:
        environment: Versions and machine.
        packages: Versions of the packages that matter here, by name.
        problems: What is wrong.
        notes: What is known about the runtimes that are installed.
    """

    environment: Environment
    packages: dict[str, str]
    problems: tuple[Problem, ...]
    notes: tuple[str, ...]


def installation() -> Installation:
    """Look at this environment; packages are imported in a process of their own."""
    required = dict(_required())
    packages = _versions((*required, *_RUNTIMES))
    problems = (
        *_too_old(packages, required),
        *_mismatched(packages),
        *_overwritten(packages),
    )
    return Installation(
        environment(), packages, problems or tuple(_not_importable()), tuple(_notes(packages))
    )


def _required() -> Iterator[tuple[str, str]]:
    """The packages that ssn_prune needs, and their oldest versions; none if it is not installed."""
    try:
        lines = metadata.requires("ssn_prune") or []
    except metadata.PackageNotFoundError:
        return
    for line in lines:
        found = re.match(r"([\w.-]+)\s*>=\s*([\w.]+)", line)
        if found and "extra ==" not in line:
            yield found[1], found[2]


def _versions(names: tuple[str, ...]) -> dict[str, str]:
    found = {}
    for name in dict.fromkeys(names):
        try:
            found[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            continue
    return found


def _too_old(packages: Mapping[str, str], required: Mapping[str, str]) -> Iterator[Problem]:
    for name, oldest in required.items():
        runtime = any(other.startswith("onnxruntime") for other in packages)
        if name not in packages and not (name == "onnxruntime" and runtime):
            yield Problem("missing", f"{name} is not installed", _install(f"{name}>={oldest}"))
        elif name in packages and _numbers(packages[name]) < _numbers(oldest):
            yield Problem(
                "too_old",
                f"{name} {packages[name]} is older than {oldest}",
                _install(f"{name}>={oldest}"),
            )


def _mismatched(packages: Mapping[str, str]) -> Iterator[Problem]:
    """Torchvision is built for one version of torch, and fails on import with another."""
    if not {"torch", "torchvision"} <= packages.keys():
        return
    wanted = re.search(r"\btorch\s*==\s*([\w.]+)", " ".join(metadata.requires("torchvision") or ()))
    if wanted and _numbers(wanted[1]) != _numbers(packages["torch"]):
        yield Problem(
            "mismatched",
            f"torchvision {packages['torchvision']} is built for torch {wanted[1]}, and torch is "
            f"{packages['torch']}",
            _install(f"torch=={wanted[1]}"),
        )


def _overwritten(packages: Mapping[str, str]) -> Iterator[Problem]:
    """Builds of ONNX Runtime share a folder: the last one installed has overwritten the others."""
    builds = [name for name in packages if name.startswith("onnxruntime")]
    if len(builds) > 1:
        yield Problem(
            "overwritten",
            f"{' and '.join(builds)} are installed into the same folder",
            f"pip uninstall {' '.join(builds)}, then install one of them",
        )


def _not_importable() -> Iterator[Problem]:
    code = f"import importlib\nfor n in {_IMPORTED}:\n print(n, flush=True)\n"
    code += " importlib.import_module(n)\nprint('done')"
    try:
        done = subprocess.run(
            [sys.executable, "-P", "-W", "ignore", "-c", code],
            capture_output=True,
            text=True,
            errors="replace",
            timeout=_SECONDS,
            check=False,
        )
    except subprocess.TimeoutExpired:
        yield Problem(
            "not_importable", f"importing took more than {_SECONDS} s", "see what else is running"
        )
        return
    last = (done.stdout.split() or [_IMPORTED[0]])[-1]
    if done.returncode or last != "done":
        said = (done.stderr.strip().splitlines() or [f"exit status {done.returncode}"])[-1]
        yield Problem("not_importable", f"{last} cannot be imported: {said[:300]}", _install(last))


def _notes(packages: Mapping[str, str]) -> Iterator[str]:
    """What docs/targets.md says about the runtimes that are installed."""
    for name in ("opencv-python", "opencv-python-headless"):
        if packages.get(name, "").startswith("4."):
            yield (
                f"{name} {packages[name]} computes the variance of InstanceNormalization "
                "inexactly: convert with `target='opencv'`"
            )
    if "ncnn" in packages and "pnnx" not in packages:
        yield "ncnn reads ONNX files through pnnx, which is not installed: pip install pnnx"
    if "onnx2tf" in packages:
        yield "onnx2tf gets 3-d networks wrong; for the others convert with `target='tflite'`"


def _install(requirement: str) -> str:
    return f"pip install '{requirement}'"


def _numbers(version: str) -> tuple[int, ...]:
    """The numbers of a release, without any suffix: ``2.12.1+cpu`` is (2, 12, 1)."""
    found = re.match(r"\d+(?:\.\d+)*", version)
    numbers = [int(part) for part in found[0].split(".")] if found else [0]
    while len(numbers) > 1 and not numbers[-1]:
        numbers.pop()
    return tuple(numbers)
