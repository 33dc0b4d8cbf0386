"""Hostile files are refused, or read as what they really hold; nothing that they request runs.

They are read in another process, by the function and by the commands.
"""

from __future__ import annotations

import subprocess
import sys
from collections import Counter
from pathlib import Path

import pytest
from hostile_calls import LIVE, SYSTEM
from hostile_case import CANARY, HARMLESS, READ, REFUSED, TYPED, UNSAFE, Case
from hostile_corpus import CASES
from legacy_assembly import legacy
from pickle_assembly import NONE, mapping, program, text
from reading_session import Reading, ReadingSession
from safetensors_assembly import safetensors
from sound_content import checkpoint, tensors
from zip_assembly import zipped

GROUPS = sorted({case.name.split(":")[0] for case in CASES})
SAMPLES = {
    "a.pth": zipped(),
    "b.pth": legacy(),
    "c.safetensors": safetensors(),
    "d.pth": b"",
    "e.pth": zipped(program(checkpoint(beside=[(SYSTEM, NONE)]))),
    "f.pth": zipped(program(checkpoint(beside=[(text("arch"), text("torchvision:none"))]))),
    "g.pth": zipped(program(checkpoint(beside=[(text("arch"), text("timm:none"))]))),
    "h.pth": zipped(program(mapping((text("a." * 100 + k), v) for k, v in tensors().items()))),
}
# Python's own unpickler on every program, to show that the payloads are live.
UNPROTECTED = """
import os, pickle, sys
for path in sys.argv[1:]:
    if os.fork() == 0:
        os.dup2(os.open(os.devnull, os.O_RDWR), 1)
        os.makedirs(path + ".d")
        os.chdir(path + ".d")
        try:
            pickle.load(open(path, "rb"))
        finally:
            os._exit(0)
    os.wait()
"""


def allowed(outcome: str, reading: Reading) -> bool:
    """Whether the reading of a file is allowed."""
    refused = reading.kind in ("refused", "unsafe")
    sound = reading.kind == "read" and not reading.changed
    return {
        UNSAFE: reading.kind == "unsafe",
        REFUSED: refused,
        HARMLESS: refused or sound,
        READ: sound,
        TYPED: refused or reading.kind == "read",
    }[outcome]


@pytest.fixture(scope="module")
def session(tmp_path_factory):
    folder = tmp_path_factory.mktemp("samples")
    for name, data in SAMPLES.items():
        (folder / name).write_bytes(data)
    with ReadingSession(
        tmp_path_factory.mktemp("worker"), [folder / name for name in SAMPLES]
    ) as session:
        yield session


def faults(session: ReadingSession, folder: Path, cases: list[Case], action: str) -> list[str]:
    """Read all files; one line for each wrong outcome."""
    found = []
    path = folder / "net.pth"
    for case in cases:
        path.write_bytes(case.content())
        reading = session.read(path, action)
        wrong = [*reading.problems]
        if action == "load" and not allowed(case.outcome, reading):
            wrong.append(f"{reading.kind} instead of {case.outcome} {reading.changed}")
        if action == "named" and reading.kind == "read":
            wrong.append("built what the file names")
        if (session.folder / CANARY).exists():
            wrong.append("EXECUTED")
            (session.folder / CANARY).unlink()
        found += [f"{case.name}: {'; '.join(wrong)}: {reading.text[:200]}"] if wrong else []
    return found


def test_there_are_enough_of_them_and_of_every_outcome():
    assert len(CASES) >= 1_000
    assert len({case.name for case in CASES}) == len(CASES)
    counts = Counter(case.outcome for case in CASES)
    assert min(counts[kind] for kind in (UNSAFE, REFUSED, HARMLESS, TYPED)) > 50
    assert counts[READ] > 5


@pytest.mark.parametrize("group", GROUPS)
def test_loading(session, tmp_path, group):
    cases = [case for case in CASES if case.name.startswith(group)]
    assert faults(session, tmp_path, cases, "load") == []


@pytest.mark.parametrize("group", GROUPS)
def test_inspecting(session, tmp_path, group):
    """Every second file by ``inspect``, the others by ``inspect --json``."""
    cases = [case for case in CASES if case.name.startswith(group)]
    assert faults(session, tmp_path, cases[::2], "inspect") == []
    assert faults(session, tmp_path, cases[1::2], "json") == []


def test_building_what_a_file_names(session, tmp_path):
    cases = [case for case in CASES if "hostile" in case.name or "architecture" in case.name]
    assert len(cases) > 60
    assert faults(session, tmp_path, cases, "named") == []


def test_the_payloads_do_run_without_the_protection(tmp_path):
    for index, (key, body) in enumerate(LIVE.items()):
        protocol = 2 if key.startswith("__builtin__") else 4
        (tmp_path / str(index)).write_bytes(program(body, protocol))
    paths = [str(tmp_path / str(index)) for index in range(len(LIVE))]
    subprocess.run([sys.executable, "-c", UNPROTECTED, *paths], check=True, timeout=120)
    asleep = [
        name
        for path, name in zip(paths, LIVE, strict=True)
        if not (Path(f"{path}.d") / CANARY).exists()
    ]
    assert asleep == []


MISDEEDS = {
    "write": "did open",
    "execute": "did os.system",
    "import": "tabnanny",
    "raise": "raised ValueError",
    "eat": "of memory",
    "work": "took",
    "change": "changed the recursion limit",
    "die": "the process died",
    "hang": "hung",
}


def test_every_misdeed_is_found(tmp_path, monkeypatch):
    (tmp_path / "a.pth").write_bytes(zipped())
    monkeypatch.setattr("reading_session.SECONDS", 1.0)
    with ReadingSession(tmp_path, [tmp_path / "a.pth"]) as session:
        for misdeed, words in MISDEEDS.items():
            if misdeed == "hang":
                monkeypatch.setattr("reading_session.PATIENCE", 1.0)
            reading = session.read(tmp_path, misdeed)
            assert any(words in problem for problem in reading.problems), (misdeed, reading)
        monkeypatch.setattr("reading_session.PATIENCE", 60.0)
        assert session.restarts == 2
        assert session.read(tmp_path / "a.pth").kind == "read"
