"""Torch programs for tests: converted and malicious ones."""

from __future__ import annotations

import io
import zipfile
from pathlib import Path

import torch
from cli_checks import ARCH, run_cli
from helpers import Executes, tiny_network


def convert_tiny(folder: Path, *options: str) -> None:
    """Write net.pth, m.pt2 and run.json."""
    torch.save(tiny_network().state_dict(), folder / "net.pth")
    files = ("-o", str(folder / "m.pt2"), "--report", str(folder / "run.json"))
    result = run_cli("convert", str(folder / "net.pth"), *ARCH, *files, *options)
    assert result.exit_code == 0, result.stderr


def members(path: Path) -> dict[str, bytes]:
    """The members of a program, by their names in the archive."""
    with zipfile.ZipFile(path) as archive:
        return {name: archive.read(name) for name in archive.namelist()}


def write_members(path: Path, content: dict[str, bytes]) -> None:
    """Write an archive without compression, like torch."""
    with zipfile.ZipFile(path, "w", zipfile.ZIP_STORED) as archive:
        for name, data in content.items():
            archive.writestr(name, data)


def plant(source: Path, target: Path, canary: Path) -> None:
    """A program whose loading runs ``touch CANARY``."""
    content = members(source)
    (name,) = [name for name in content if "sample_inputs" in name]
    payload = io.BytesIO()
    torch.save(Executes(canary), payload)
    write_members(target, content | {name: payload.getvalue()})
