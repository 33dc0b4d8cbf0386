"""The wheel without the repository: built, installed into a folder of its own, and used there.

    python release/wheel.py [--out DIR]

Fails when a file of the package is missing in the wheel, or when a command that needs these files
fails. The packages that ssn_prune depends on are those of this Python; pip downloads nothing.
"""

from __future__ import annotations

import argparse
import os
import shutil
import subprocess
import sys
import tempfile
import zipfile
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
GENERATED = {".pyc", ".pyo"}
# Imports every module, and reads the files that are not modules: the digits, a report's template.
SMOKE = """
import importlib, pathlib, pkgutil, sys
import torch
import ssn_prune
from ssn_prune.demo.digits import load_digits

home = pathlib.Path(ssn_prune.__file__).parents[1]
assert home == pathlib.Path(sys.argv[1]), f"imported from {home}"
for module in pkgutil.walk_packages(ssn_prune.__path__, "ssn_prune."):
    if not module.name.endswith("__main__"):
        importlib.import_module(module.name)
for name in ssn_prune.__all__:
    getattr(ssn_prune, name)
assert load_digits().test_images.shape == (360, 1, 16, 16)
layers = [torch.nn.Conv2d(3, 4, 1), torch.nn.BatchNorm2d(4)]
model = ssn_prune.convert_to_ssn(torch.nn.Sequential(*layers), keep_choice=0.8).model
ssn_prune.set_radius(model, 0.8165)
torch.save(model.state_dict(), "model.pth")
"""
NETWORK = """
from torch import nn
from ssn_prune import convert_to_ssn

def network():
    return convert_to_ssn(nn.Sequential(nn.Conv2d(3, 4, 1), nn.BatchNorm2d(4))).model
"""
CONVERT = "convert model.pth --arch own:network --input-size 8 -o model.onnx --report page.html"
CLI = (
    ("--version",),
    CONVERT.split(),
    ("verify", "model.pth", "model.onnx", "--arch", "own:network", "--input-size", "8"),
)


def main() -> None:
    """Build, compare, use."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--out", type=Path, help="keep the wheel in this folder")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        wheel = build(folder)
        if missing := sorted(files_of_package() - set(zipfile.ZipFile(wheel).namelist())):
            sys.exit("not in the wheel: " + ", ".join(missing))
        use(wheel, folder)
        if options.out:
            options.out.mkdir(parents=True, exist_ok=True)
            shutil.copy(wheel, options.out)
        print(f"{wheel.name}: {wheel.stat().st_size / 1e6:.1f} MB, complete, and it works")


def build(folder: Path) -> Path:
    """Build from a copy of the sources, so that the repository stays as it is."""
    sources = folder / "sources"
    sources.mkdir()
    for name in ("pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, sources)
    shutil.copytree(
        ROOT / "ssn_prune", sources / "ssn_prune", ignore=shutil.ignore_patterns("__pycache__")
    )
    pip("wheel", str(sources), "--no-build-isolation", "-w", str(folder / "wheels"))
    (wheel,) = (folder / "wheels").glob("*.whl")
    return wheel


def files_of_package() -> set[str]:
    """The files of the package, as the repository has them."""
    found = (path for path in (ROOT / "ssn_prune").rglob("*") if path.is_file())
    return {path.relative_to(ROOT).as_posix() for path in found if path.suffix not in GENERATED}


def use(wheel: Path, folder: Path) -> None:
    """Install the wheel into a folder, and use it from another one."""
    installed, elsewhere = folder / "installed", folder / "elsewhere"
    pip("install", str(wheel), "--no-compile", "--target", str(installed))
    elsewhere.mkdir()
    (elsewhere / "own.py").write_text(NETWORK, encoding="utf-8")
    environment = {**os.environ, "PYTHONPATH": str(installed), "OMP_NUM_THREADS": "1"}
    commands = [("-c", SMOKE, str(installed)), *(("-m", "ssn_prune", *words) for words in CLI)]
    for command in commands:
        done = subprocess.run(
            [sys.executable, *command],
            cwd=elsewhere,
            env=environment,
            capture_output=True,
            text=True,
            check=False,
        )
        if done.returncode:
            sys.exit(f"{command[:2]} failed:\n{done.stdout}{done.stderr}")
    if "</html>" not in (elsewhere / "page.html").read_text(encoding="utf-8"):
        sys.exit("the page of the report is not whole")


def pip(*words: str) -> None:
    """Run pip, without an index."""
    options = ["--quiet", "--no-deps", "--no-index", "--disable-pip-version-check"]
    command = [sys.executable, "-m", "pip", words[0], *options, *words[1:]]
    environment = {**os.environ, "PIP_ROOT_USER_ACTION": "ignore"}
    subprocess.run(command, check=True, env=environment)


if __name__ == "__main__":
    main()
