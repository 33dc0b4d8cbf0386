"""What a table of measurements says about where it comes from."""

from __future__ import annotations

import os
import platform
from datetime import date
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

PACKAGES = ("torch", "torchvision", "onnx", "onnxscript", "onnxruntime", "openvino", "numpy")


def processor() -> str:
    """Name of the processor and number of its cores in use."""
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        lines = []
    names = [line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")]
    return f"{names[0] if names else platform.machine()}, {os.cpu_count()} cores"


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
    return (
        f"# {title}\n\n`python benchmarks/{script}`: {how}; {versions()}; Python "
        f"{platform.python_version()}; {processor()}; {date.today()}.\n\n"
    )
