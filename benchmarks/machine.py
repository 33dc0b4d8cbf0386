"""The heading of a table of measurements: versions, machine and command."""

from __future__ import annotations

import os
import platform
from datetime import date
from importlib.metadata import PackageNotFoundError, version

from ssn_prune.environment import processor_name

PACKAGES = ("torch", "torchvision", "onnx", "onnxscript", "onnxruntime", "openvino", "numpy")


def versions() -> str:
    """Versions of what the figures depend on."""
    found = []
    for name in PACKAGES:
        try:
            found.append(f"{name} {version(name)}")
        except PackageNotFoundError:
            continue
    return ", ".join(found)


def heading(title: str, script: str, how: str) -> str:
    """The first lines of a table's file."""
    machine = f"{processor_name()}, {os.cpu_count()} cores"
    return (
        f"# {title}\n\n`python benchmarks/{script}`: {how}; {versions()}; Python "
        f"{platform.python_version()}; {machine}; {date.today()}.\n\n"
    )
