"""Environments with the oldest and the newest dependencies that ``pyproject.toml`` allows."""

from __future__ import annotations

import re
import subprocess
import sys
import tomllib
import venv
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]


def floors() -> list[str]:
    """Every dependency at the first release that is allowed, for example ``torch==2.12.*``."""
    with (ROOT / "pyproject.toml").open("rb") as file:
        dependencies = tomllib.load(file)["project"]["dependencies"]
    return [_floor(requirement) for requirement in dependencies]


def _floor(requirement: str) -> str:
    found = re.fullmatch(r"([\w.-]+)>=([\d.]+)", requirement)
    if found is None:
        raise ValueError(f"expected NAME>=VERSION in pyproject.toml, found {requirement}")
    name, version = found.groups()
    return f"{name}=={version}" if version.count(".") >= 2 else f"{name}=={version}.*"


def python_of(environment: str, folder: Path) -> str:
    """The Python of an environment, which is made if it does not exist.

    Args:
        environment: ``here``, ``floors`` or ``newest``.
        folder: Where environments are kept.

    Raises:
        subprocess.CalledProcessError: pip failed; it has said why.
    """
    if environment == "here":
        return sys.executable
    home = folder / environment
    python, made = home / "bin" / "python", home / "made"
    if not made.exists():
        venv.create(home, clear=True, with_pip=True)
        pip = [str(python), "-m", "pip", "--disable-pip-version-check", "install", "--quiet"]
        given = floors() if environment == "floors" else ["--upgrade"]
        subprocess.run([*pip, *given, "-e", f"{ROOT}[dev]"], check=True)
        made.touch()
    return str(python)
