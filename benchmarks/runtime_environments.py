"""One environment for each runtime, with pinned packages.

    python benchmarks/runtime_environments.py DIR NAME ...

This makes some of them ahead, for ``runtimes.py --environments DIR``.
"""

from __future__ import annotations

import shutil
import subprocess
import sys
import venv
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Environment:
    """A row of the table.

    Attributes:
        name: Its name on the command line.
        backend: The runtime, as ``ssn_prune.runtime.backends`` calls it.
        requirements: All packages to install; pip resolves no others.
    """

    name: str
    backend: str
    requirements: tuple[str, ...]

    def python_in(self, folder: Path) -> Path:
        """Its Python, if it lies in a folder."""
        return folder / self.name / "bin" / "python"


# Needed to read and change an ONNX file; the versions are the same everywhere.
_ONNX = ("onnx==1.23.2", "protobuf==7.36.2", "typing-extensions==4.16.0", "ml-dtypes==0.5.4")
_BASE = ("numpy==2.4.6", *_ONNX)

ENVIRONMENTS = (
    Environment("ort", "onnxruntime", ("onnxruntime==1.32.0", "flatbuffers==25.12.19", *_BASE)),
    Environment("ort117", "onnxruntime", ("onnxruntime==1.17.3", "numpy==1.26.4", *_ONNX)),
    Environment("openvino", "openvino", ("openvino==2026.4.1", *_BASE)),
    Environment("opencv4", "opencv", ("opencv-python-headless==4.14.0.94", *_BASE)),
    Environment("opencv5", "opencv", ("opencv-python-headless==5.0.0.93", *_BASE)),
    Environment("mnn", "mnn", ("MNN==3.6.1", *_BASE)),
    Environment("tract", "tract", ("tract==0.23.9", *_BASE)),
    # pnnx asks for torch with CUDA, which its converter does not use.
    Environment("ncnn", "ncnn", ("ncnn==1.0.20261020", "pnnx==20261020", *_BASE)),
)  # fmt: skip


def environment_of(name: str) -> Environment:
    """The environment with a name."""
    return next(environment for environment in ENVIRONMENTS if environment.name == name)


def make(environment: Environment, folder: Path) -> None:
    """Make an environment unless it exists; if that fails, the error is pip's."""
    target = folder / environment.name
    stamp, text = target / "requirements.txt", "\n".join(environment.requirements)
    if stamp.exists() and stamp.read_text(encoding="utf-8") == text:
        return
    shutil.rmtree(target, ignore_errors=True)
    venv.create(target, with_pip=False, symlinks=True)
    python = environment.python_in(folder)
    pip = [sys.executable, "-m", "pip", "--python", str(python), "install", "--quiet"]
    options = ["--no-deps", "--no-compile", "--only-binary", ":all:", "--disable-pip-version-check"]
    done = subprocess.run(
        [*pip, *options, *environment.requirements], capture_output=True, text=True, check=False
    )
    if done.returncode:
        raise SystemExit(f"{environment.name} cannot be installed:\n{done.stderr}")
    stamp.write_text(text, encoding="utf-8")


if __name__ == "__main__":
    for chosen in sys.argv[2:]:
        make(environment_of(chosen), Path(sys.argv[1]))
