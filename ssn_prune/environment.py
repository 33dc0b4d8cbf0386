"""What a run depended on besides its input: versions and the machine."""

from __future__ import annotations

import os
import platform
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

_PACKAGES = ("torch", "torchvision", "onnx", "onnx-ir", "onnxscript", "onnxruntime", "numpy")


@dataclass(frozen=True)
class Environment:
    """Versions and machine.

    Attributes:
        python: Version of Python.
        packages: Versions of the packages that make and run a file, by name.
        system: Operating system and its version.
        processor: Name of the processor.
        cores: Number of logical cores that the system reports.
    """

    python: str
    packages: dict[str, str]
    system: str
    processor: str
    cores: int


def environment() -> Environment:
    """The environment of this process; nothing is imported for it."""
    return Environment(
        python=platform.python_version(),
        packages={name: found for name in _PACKAGES if (found := _version(name)) is not None},
        system=f"{platform.system()} {platform.release()} {platform.machine()}",
        processor=processor_name(),
        cores=os.cpu_count() or 1,
    )


def _version(package: str) -> str | None:
    try:
        return version(package)
    except PackageNotFoundError:
        return None


def processor_name() -> str:
    """Name of the machine's processor."""
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        return platform.processor() or platform.machine()
    names = [line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.machine()
