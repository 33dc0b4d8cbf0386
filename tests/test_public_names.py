"""Imports are cheap, and every public name is written once, exists and is documented."""

from __future__ import annotations

import importlib
import inspect
import re
import subprocess
import sys
import types
from pathlib import Path

import pytest

import ssn_prune
from ssn_prune._renamed import RENAMED

HEAVY = ("torch", "torchvision", "numpy", "onnx", "onnxruntime", "timm")
STUB = Path(ssn_prune.__file__).with_name("__init__.pyi")
LINE = re.compile(r"from \.([\w.]+) import (\w+) as (\w+)")


def run(*arguments):
    done = subprocess.run([sys.executable, *arguments], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done


def listed():
    """The lines of the stub: module, name, name."""
    lines = STUB.read_text(encoding="utf-8").splitlines()
    return [LINE.fullmatch(line).groups() for line in lines if line and not line.startswith("#")]


def test_importing_the_package_does_not_import_torch():
    code = f"import sys, ssn_prune; print([m for m in {HEAVY} if m in sys.modules])"
    assert run("-c", code).stdout.strip() == "[]"


@pytest.mark.parametrize("arguments", [["--help"], ["convert", "--help"], ["--version"]])
def test_help_does_not_import_torch(arguments):
    done = run("-X", "importtime", "-m", "ssn_prune", *arguments)
    imported = {
        line.rpartition("|")[2].strip().partition(".")[0]
        for line in done.stderr.splitlines()
        if line.startswith("import time:")
    }
    assert "ssn_prune" in imported
    assert imported.isdisjoint(HEAVY)


def test_light_names_do_not_import_torch():
    code = (
        "import sys; from ssn_prune import Normalizer, ArgumentError; print('torch' in sys.modules)"
    )
    assert run("-c", code).stdout.strip() == "False"


def test_the_stub_is_the_only_list():
    names = [name for _, name, _ in listed()]
    assert all(name == public for _, name, public in listed())
    assert len(set(names)) == len(names)
    assert ssn_prune.__all__ == sorted(names)
    assert dir(ssn_prune) == ssn_prune.__all__
    code = Path(ssn_prune.__file__).read_text(encoding="utf-8").split('"""')[2]
    assert not [name for name in names if re.search(rf"\b{name}\b", code)]


@pytest.mark.parametrize(("module", "name"), [line[:2] for line in listed()])
def test_a_public_name_is_what_its_module_defines(module, name):
    value = getattr(ssn_prune, name)
    assert value is getattr(importlib.import_module(f"ssn_prune.{module}"), name)
    assert isinstance(value, str) or inspect.getdoc(value)
    # Written at home, not passed on by a module that only imports it.
    assert getattr(value, "__module__", f"ssn_prune.{module}") == f"ssn_prune.{module}"


def test_a_star_import_gives_every_public_name():
    code = (
        "from ssn_prune import *; import ssn_prune; print(set(ssn_prune.__all__) - set(globals()))"
    )
    assert run("-c", code).stdout.strip() == "set()"


def test_public_names_resolve_even_after_all_submodules_are_imported():
    code = """
import importlib, pkgutil, types
import ssn_prune
for found in pkgutil.walk_packages(ssn_prune.__path__, "ssn_prune."):
    if not found.name.endswith("__main__"):
        importlib.import_module(found.name)
for name in ssn_prune.__all__:
    value = getattr(ssn_prune, name)
    assert not isinstance(value, types.ModuleType), name
    assert value is getattr(ssn_prune, name), name
"""
    run("-c", code)


def test_unknown_names_are_attribute_errors():
    assert not hasattr(ssn_prune, "no_such_name")
    assert not hasattr(ssn_prune.errors, "no_such_name")
    assert not isinstance(ssn_prune.verify, types.ModuleType)
    with pytest.raises(ImportError):
        from ssn_prune import no_such_name  # noqa: F401


@pytest.mark.parametrize("old", RENAMED)
def test_a_renamed_name_still_works_with_a_warning_that_names_the_new_one(old):
    module_name, _, name = old.rpartition(".")
    module = importlib.import_module(module_name)
    new, version = RENAMED[old]
    with pytest.warns(DeprecationWarning, match=rf"{new} since version {version}") as caught:
        assert getattr(module, name) is getattr(module, new)
    assert caught[0].filename == __file__
    assert name not in dir(ssn_prune)


def test_renamed_records_still_have_their_old_fields():
    gate = ssn_prune.GateState((1.0, 0.0, 0.0), ssn_prune.Normalizer.IN, True, 1.0)
    with pytest.warns(DeprecationWarning, match="one_hot"):
        assert gate.converged
    report = ssn_prune.GateReport("IN", {}, True, 1.0)
    layer = ssn_prune.LayerReport("a", "SSN", 1, 1, report, report, True, None, fold="running_mean")
    with pytest.warns(DeprecationWarning, match="fold"):
        assert layer.folded == "running mean"


def test_the_package_ships_what_it_reads_and_its_types():
    text = (STUB.parents[1] / "pyproject.toml").read_text(encoding="utf-8")
    patterns = re.search(r"^ssn_prune = \[(.*)\]$", text, re.MULTILINE)[1]
    assert {'"*.pyi"', '"py.typed"'} <= set(patterns.split(", "))
    assert STUB.with_name("py.typed").is_file()
