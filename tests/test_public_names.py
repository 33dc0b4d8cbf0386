"""Imports are cheap, and the public names are what they seem."""

import subprocess
import sys
import types

import pytest

HEAVY = ("torch", "torchvision", "numpy", "onnx", "onnxruntime", "timm")


def run(*arguments):
    done = subprocess.run([sys.executable, *arguments], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done


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
    import ssn_prune

    assert not hasattr(ssn_prune, "no_such_name")
    assert not isinstance(ssn_prune.verify, types.ModuleType)
    assert set(ssn_prune.__all__) == set(dir(ssn_prune))
