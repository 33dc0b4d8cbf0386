"""What is wrong with an environment is said, with a cure; a sound one has no problem."""

from importlib import metadata

import pytest

from ssn_prune import installation as checks
from ssn_prune.installation import installation

SOUND = {
    **{"ssn_prune": "0.2", "torch": "2.14.1+cpu", "torchvision": "0.29.1", "numpy": "2.1.0"},
    **{"onnxruntime": "1.23.2", "unheard-of": "1"},
}
NEEDED = {
    "ssn_prune": [
        *("torch>=2.12", "torchvision>=0.27", "numpy>=2.1", "onnxruntime>=1.23.2"),
        'timm>=1; extra == "dev"',
    ],
    "torchvision": ["numpy", "torch==2.14.1", 'pillow!=8.3.*,>=5.3.0; extra == "x"'],
}


@pytest.fixture
def found(monkeypatch):
    """Look at an environment with other versions; None takes a package out."""
    monkeypatch.setattr(checks, "_IMPORTED", ("json",))

    def look(**others: str | None):
        present = {**SOUND, **{name.replace("_", "-"): v for name, v in others.items()}}

        def version(name):
            if present.get(name) is None:
                raise metadata.PackageNotFoundError(name)
            return present[name]

        monkeypatch.setattr(metadata, "version", version)
        monkeypatch.setattr(metadata, "requires", NEEDED.get)
        return installation()

    return look


def test_a_sound_environment_has_no_problem(found):
    state = found()
    assert state.problems == ()
    assert state.packages == {
        k: v for k, v in SOUND.items() if k not in ("ssn_prune", "unheard-of")
    }
    assert state.notes == ()


@pytest.mark.parametrize(
    ("others", "code", "words", "cure"),
    [
        ({"torch": None}, "missing", "torch is not", "'torch>=2.12'"),
        ({"numpy": "2.0.9"}, "too_old", "numpy 2.0.9 is older than 2.1", "'numpy>=2.1'"),
        ({"onnxruntime": "1.23.1"}, "too_old", "1.23.1 is older", "'onnxruntime>=1.23.2'"),
        ({"torch": "2.14.0"}, "mismatched", "is built for torch 2.14.1", "'torch==2.14.1'"),
        (
            {"onnxruntime_gpu": "1.23.2"},
            "overwritten",
            "onnxruntime and onnxruntime-gpu are installed",
            "pip uninstall onnxruntime onnxruntime-gpu",
        ),
    ],
)
def test_combinations_that_fail_are_named(found, others, code, words, cure):
    (problem,) = found(**others).problems
    assert problem.code == code
    assert words in problem.problem
    assert cure in problem.hint


def test_another_build_of_the_runtime_will_do(found):
    assert found(onnxruntime=None, onnxruntime_gpu="1.23.2").problems == ()


@pytest.mark.parametrize(
    ("others", "words"),
    [
        ({"opencv_python": "4.14.0"}, "`target='opencv'`"),
        ({"ncnn": "1.0"}, "pip install pnnx"),
        ({"onnx2tf": "1.29"}, "3-d networks"),
        ({"opencv_python": "5.0.0", "ncnn": "1", "pnnx": "1"}, None),
    ],
)
def test_what_is_known_of_other_runtimes_is_said(found, others, words):
    notes = found(**others).notes
    assert notes == () if words is None else words in " ".join(notes)


@pytest.mark.parametrize("name", ["no_such_module", "antigravity_of_nobody.at_all"])
def test_a_package_that_cannot_be_imported_is_named(found, monkeypatch, name):
    found()
    monkeypatch.setattr(checks, "_IMPORTED", ("json", name, "math"))
    (problem,) = installation().problems
    assert problem.code == "not_importable"
    assert f"{name} cannot be imported: ModuleNotFoundError" in problem.problem


def test_a_package_that_ends_the_process_is_named(found, monkeypatch, tmp_path):
    (tmp_path / "crashing.py").write_text("import os; os.abort()")
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    found()
    monkeypatch.setattr(checks, "_IMPORTED", ("json", "crashing"))
    (problem,) = installation().problems
    assert "crashing cannot be imported: exit status -6" in problem.problem
