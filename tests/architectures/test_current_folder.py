"""The user's modules in the current folder are found; nobody else's names are taken by it."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from ssn_prune.architectures.current_folder import current_folder_importable, is_owned
from ssn_prune.architectures.registry import find_architecture
from ssn_prune.errors import ArchitectureError

TAKEN = ("wave", "this", "antigravity", "torchgen", "mpmath")
NET = "from torch import nn\nfrom folder_part.layer import Layer\nclass Net(Layer): pass\n"


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    before = dict(sys.modules)
    yield tmp_path
    for name in set(sys.modules) - set(before):
        if name.startswith("folder_"):
            del sys.modules[name]


def test_a_module_and_what_it_imports_are_found(folder):
    (folder / "folder_net.py").write_text(NET)
    (folder / "folder_part").mkdir()
    (folder / "folder_part" / "__init__.py").touch()
    (folder / "folder_part" / "layer.py").write_text(
        "from torch import nn\nfrom folder_more import *\nclass Layer(nn.Identity): pass\n"
    )
    (folder / "folder_more.py").touch()
    before = list(sys.meta_path), list(sys.path)
    assert type(find_architecture("folder_net:Net", trusted=True).build()).__name__ == "Net"
    assert (list(sys.meta_path), list(sys.path)) == before


@pytest.mark.parametrize("name", TAKEN)
def test_names_of_python_and_of_dependencies_are_not_taken(folder, monkeypatch, name):
    monkeypatch.delitem(sys.modules, name, raising=False)
    (folder / f"{name}.py").write_text("raise AssertionError('imported from the current folder')")
    (folder / "folder_user.py").write_text(
        f"import importlib.util\nfrom torch import nn\nfound = importlib.util.find_spec({name!r})\n"
        "class Net(nn.Identity): pass\n"
    )
    find_architecture("folder_user:Net", trusted=True)
    found = sys.modules["folder_user"].found
    assert found is None or str(folder) not in str(found.origin)


def test_python_and_dependencies_own_their_names():
    assert all(map(is_owned, ("resource", "json", "torch", "numpy", "typer", "sympy", "ssn_prune")))
    assert not any(map(is_owned, ("models", "folder_net", "train")))


def test_a_module_with_a_taken_name_is_told_to_be_renamed(folder):
    (folder / "wave.py").write_text("class Net: pass\n")
    with pytest.raises(ArchitectureError) as refusal:
        find_architecture("wave:Net", trusted=True)
    assert "rename" in refusal.value.hint
    assert "wave" in refusal.value.hint


def test_nothing_is_found_there_afterwards(folder):
    (folder / "folder_late.py").touch()
    with current_folder_importable():
        pass
    with pytest.raises(ModuleNotFoundError):
        __import__("folder_late")
