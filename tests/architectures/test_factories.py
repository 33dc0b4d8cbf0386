"""Modules of the user's own that end, ask, or are named in another way than package.module:name."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from ssn_prune.architectures.registry import find_architecture
from ssn_prune.errors import ArchitectureError, ArgumentError, SsnPruneError

NETS = """
from torch import nn

class Encoder(nn.Module):
    pass

class Decoder(nn.Module):
    pass

def build_all():
    return nn.Identity()

def _hidden():
    pass

CONSTANT = 3
"""


@pytest.fixture
def module(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """Its name, which no other test uses; the source is the test's parameter."""
    monkeypatch.chdir(tmp_path)
    name = f"user_module_{abs(hash(request.node.name))}"
    (tmp_path / f"{name}.py").write_text(request.param)
    return name


def error_of(name: str, *, trusted: bool = True) -> SsnPruneError:
    with pytest.raises(SsnPruneError) as caught:
        find_architecture(name, trusted=trusted)
    return caught.value


ENDING = {
    "sys.exit": "import sys\nsys.exit(0)",
    "exit with a text": "raise SystemExit('usage: train.py DATA')",
    "argparse": "import argparse\np = argparse.ArgumentParser()\np.add_argument('data', type=int)\n"
    "p.parse_args(['x'])",
    "GeneratorExit": "raise GeneratorExit('bye')",
    "another": "class Stop(BaseException): pass\nraise Stop('now')",
}


@pytest.mark.parametrize("module", ENDING.values(), ids=ENDING, indirect=True)
def test_a_module_that_ends_the_program_is_a_usage_error(module: str) -> None:
    before = sys.stdin, list(sys.path)
    error = error_of(f"{module}:Net")
    assert type(error) is ArgumentError
    assert f"{module} ends the program when it is imported" in error.problem
    assert "__main__" in error.hint
    assert (sys.stdin, list(sys.path)) == before


@pytest.mark.parametrize(
    "module", ["name = input('data? ')", "import sys\nsys.exit(len(input()))"], indirect=True
)
def test_a_module_that_asks_is_a_usage_error(module: str) -> None:
    error = error_of(f"{module}:Net")
    assert type(error) is ArgumentError
    assert f"{module} asks for input" in error.problem


@pytest.mark.parametrize("module", ["raise KeyboardInterrupt"], indirect=True)
def test_an_interruption_interrupts(module: str) -> None:
    with pytest.raises(KeyboardInterrupt):
        find_architecture(f"{module}:Net", trusted=True)


@pytest.mark.parametrize("module", ["import sys\ndef build():\n    sys.exit(3)"], indirect=True)
def test_a_factory_that_ends_the_program_is_a_usage_error(module: str) -> None:
    build = find_architecture(f"{module}:build", trusted=True).build
    with pytest.raises(ArgumentError, match="ends the program when it builds the network"):
        build()


@pytest.mark.parametrize("module", [NETS], indirect=True)
def test_a_module_alone_lists_what_it_offers(module: str) -> None:
    error = error_of(module)
    assert type(error) is ArchitectureError
    assert "is a module, not a network" in error.problem
    assert "Encoder, Decoder, build_all" in error.expected
    assert "_hidden" not in error.expected
    assert f"`arch='{module}:Encoder'`" in error.hint
    assert module not in sys.modules
    assert "unknown architecture" in error_of(module, trusted=False).problem


@pytest.mark.parametrize("module", [NETS], indirect=True)
def test_near_names_are_suggested(module: str) -> None:
    error = error_of(f"{module}:Encodr")
    assert "cannot import the factory" in error.problem
    assert f"`arch='{module}:Encoder'`" in error.hint
    assert "Decoder" in error.expected
    assert "CONSTANT" not in error.expected


@pytest.mark.parametrize("module", [NETS], indirect=True)
@pytest.mark.parametrize("form", ["{}.py:Decoder", "./{}.py:Decoder", "{}.py"])
def test_a_file_is_told_its_module(module: str, form: str) -> None:
    error = error_of(form.format(module))
    assert "names a file" in error.problem
    assert f"`arch='{module}:Decoder'`" in error.hint
    assert "PYTHONPATH" not in error.hint
    find_architecture(f"{module}:Decoder", trusted=True)


def test_a_file_elsewhere_is_told_its_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "code").mkdir()
    (tmp_path / "code" / "nets_elsewhere.py").write_text(NETS)
    monkeypatch.chdir(tmp_path)
    error = error_of("code/nets_elsewhere.py:Encoder")
    assert error.hint == "pass `arch='nets_elsewhere:Encoder'`, with PYTHONPATH=code"
    monkeypatch.syspath_prepend("code")
    find_architecture("nets_elsewhere:Encoder", trusted=True)
    assert "no file missing.py" in error_of("missing.py:Net").found


@pytest.mark.parametrize("module", ["from nothing_like_it import x"], indirect=True)
def test_a_module_that_lacks_another_is_told_to_install_it(module: str) -> None:
    error = error_of(f"{module}:Net")
    assert "nothing_like_it" in error.found
    assert "install" in error.hint
