"""Files of other tools: inert metadata does not get a file refused, and changes nothing."""

from __future__ import annotations

import zipfile

import numpy as np
import pytest
import torch
from benign_files import FILES, STATE
from typer.testing import CliRunner

from ssn_prune import load_checkpoint
from ssn_prune.cli.app import app


def assert_sound(path):
    loaded = load_checkpoint(path, arch="sound_network:Network")
    found = loaded.model.state_dict()
    assert found.keys() == STATE.keys()
    for key, value in STATE.items():
        assert found[key].dtype == value.dtype
        torch.testing.assert_close(found[key], value, rtol=0, atol=0, msg=key)


def test_there_are_enough_of_them():
    assert len(FILES) >= 60


@pytest.mark.parametrize("name", FILES)
def test_the_weights_are_read_as_they_were_written(tmp_path, name):
    FILES[name](tmp_path / "net.pth")
    assert_sound(tmp_path / "net.pth")
    result = CliRunner().invoke(app, ["inspect", str(tmp_path / "net.pth")])
    assert result.exit_code == 0, result.stderr


@pytest.mark.parametrize(
    "value", [np.float64(76.5), np.arange(3.0), [np.int64(3)] * 2], ids=["scalar", "array", "list"]
)
@pytest.mark.parametrize("legacy", [False, True], ids=["zip", "legacy"])
def test_names_of_numpy_1(tmp_path, value, legacy):
    """Before NumPy 2, the module was called numpy.core."""
    path, old = tmp_path / "net.pth", tmp_path / "old.pth"
    content = {"state_dict": STATE, "best": value}
    torch.save(content, path, _use_new_zipfile_serialization=not legacy)
    if legacy:
        data = path.read_bytes()
        assert b"numpy._core" in data
        old.write_bytes(data.replace(b"numpy._core", b"numpy.core"))
    else:
        with zipfile.ZipFile(path) as new, zipfile.ZipFile(old, "w") as written:
            for member in new.namelist():
                data = new.read(member).replace(b"numpy._core", b"numpy.core")
                written.writestr(member, data)
    assert_sound(old)
