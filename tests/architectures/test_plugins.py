"""Architectures of other packages, without pip: a folder with the package and its metadata."""

from __future__ import annotations

import shutil
import sys
import tomllib
from pathlib import Path

import pytest
import torch
from helpers import one_hot_gates

import ssn_prune
from ssn_prune import ArchitectureError, ArgumentError, load_checkpoint
from ssn_prune.architectures.plugins import GROUP, plugin_names
from ssn_prune.architectures.registry import find_architecture
from ssn_prune.nn.switchable import SwitchableNorm

EXAMPLE = Path(__file__).parents[2] / "examples" / "architecture_plugin"


def installed(site: Path, module: str, points: dict[str, str], package: str = "") -> None:
    """What pip leaves of a package with one module."""
    name = package or module
    info = site / f"{name}-0.1.dist-info"
    info.mkdir(parents=True)
    (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: 0.1\n")
    lines = [f"[{GROUP}]", *(f"{key} = {value}" for key, value in points.items())]
    (info / "entry_points.txt").write_text("\n".join(lines))


@pytest.fixture
def site(tmp_path, monkeypatch):
    """A folder that packages can be imported from, and another one to work in."""
    folder = tmp_path / "site"
    folder.mkdir()
    monkeypatch.syspath_prepend(folder)
    (tmp_path / "work").mkdir()
    monkeypatch.chdir(tmp_path / "work")
    before = set(sys.modules)
    yield folder
    for name in set(sys.modules) - before:
        if str(folder) in str(getattr(sys.modules[name], "__file__", "")):
            del sys.modules[name]


@pytest.fixture
def example(site):
    project = tomllib.loads((EXAMPLE / "pyproject.toml").read_text())["project"]
    shutil.copy(EXAMPLE / "plain_nets.py", site)
    installed(site, "plain_nets", project["entry-points"][GROUP])
    return site


def saved(**entries) -> str:
    import plain_nets

    torch.manual_seed(0)
    network = plain_nets.PlainNet(num_classes=7)
    layers = [module for module in network.modules() if isinstance(module, SwitchableNorm)]
    for index, layer in enumerate(layers):
        one_hot_gates(layer, index % 3, (index + 1) % 3)
    torch.save({"state_dict": network.state_dict(), **entries}, "net.pth")
    return "net.pth"


@pytest.mark.usefixtures("example")
def test_a_checkpoint_may_name_the_network_of_an_installed_package(tmp_path):
    loaded = load_checkpoint(saved(arch="plain_net"))
    assert loaded.source.arch == "plain_net"
    assert loaded.source.arch_args == {"num_classes": 7}
    assert loaded.input_size == (3, 32, 32)
    assert loaded.preprocessing.std == (0.25, 0.25, 0.25)
    report = ssn_prune.convert(loaded, tmp_path / "net.onnx")
    assert report.verification.passed


@pytest.mark.usefixtures("example")
def test_the_user_may_name_it_and_near_names_are_suggested():
    assert type(load_checkpoint(saved(), arch="plain_net").model).__name__ == "PlainNet"
    with pytest.raises(ArchitectureError, match="unknown") as caught:
        find_architecture("plain_nett", trusted=True)
    assert "did you mean plain_net?" in caught.value.hint


def test_looking_for_names_imports_nothing(example):
    (example / "plain_nets.py").write_text("raise SystemExit")
    assert plugin_names() == ["plain_net"]
    assert find_architecture("resnetv1ssn18", trusted=False).name == "resnetv1ssn18"


def test_a_package_of_the_current_folder_was_not_installed(site, monkeypatch):
    """It may have come with the checkpoint, and Python may look there for modules."""
    work = Path.cwd()
    monkeypatch.syspath_prepend(work)
    (work / "evil.py").write_text("open('ran', 'w')")
    installed(work, "evil", {"evil": "evil:NET"})
    for trusted in (False, True):
        with pytest.raises(ArchitectureError, match=r"unknown|module"):
            find_architecture("evil", trusted=trusted)
    assert plugin_names() == []
    assert not (work / "ran").exists()
    assert "evil" not in sys.modules


@pytest.mark.parametrize(
    ("code", "error", "words"),
    [
        ("1 / 0", ArchitectureError, "ZeroDivisionError"),
        ("import no_such_package", ArchitectureError, "no_such_package"),
        ("OTHER = 1", ArchitectureError, "NET"),
        ("raise SystemExit(3)", ArgumentError, "SystemExit"),
        ("def NET(): pass", ArchitectureError, "function"),
        ("NET = None", ArchitectureError, "NoneType"),
    ],
)
def test_what_cannot_be_used_is_said_with_its_package(site, code, error, words):
    (site / "broken_nets.py").write_text(code)
    installed(site, "broken_nets", {"net": "broken_nets:NET"}, package="broken-nets")
    with pytest.raises(error) as caught:
        find_architecture("net", trusted=False)
    assert words in caught.value.found
    assert "broken" in str(caught.value)
    assert caught.value.hint


def test_a_name_of_two_packages_is_refused_and_built_in_names_stay(site):
    for name in ("one_nets", "two_nets"):
        (site / f"{name}.py").write_text("raise ValueError")
        installed(site, name, {"net": f"{name}:NET", "resnetv1ssn18": f"{name}:NET"})
    with pytest.raises(ArchitectureError, match="several packages") as caught:
        find_architecture("net", trusted=True)
    assert "one_nets and two_nets" in caught.value.found
    assert find_architecture("resnetv1ssn18", trusted=False).input_size == (3, 224, 224)
