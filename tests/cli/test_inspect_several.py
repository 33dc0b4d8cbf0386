"""inspect compares the selections of several checkpoints."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

import pytest
import torch
from cli_checks import fails, run_cli
from helpers import one_hot_gates, tiny_network
from terminal import on_terminal, plain


@pytest.fixture
def checkpoints(tmp_path: Path) -> list[str]:
    first, second = tiny_network(), tiny_network()
    one_hot_gates(second.sn2, 1, 2)
    paths = [tmp_path / "a" / "net.pth", tmp_path / "b" / "net.pth", tmp_path / "c.pth"]
    for path, model in zip(paths, (first, second, first), strict=True):
        path.parent.mkdir(exist_ok=True)
        torch.save(model.state_dict(), path)
    return [str(path) for path in paths]


def test_what_differs_is_marked(checkpoints: list[str]) -> None:
    result = run_cli("inspect", *checkpoints)
    assert result.exit_code == 0, result.stderr
    rows = [line.strip("│ ").split("│") for line in result.stdout.splitlines() if "/" in line]
    cells = [[cell.strip() for cell in row] for row in rows if row[0].startswith("sn")]
    assert cells == [
        ["sn1", "IN/BN", "IN/BN", "IN/BN"],
        ["sn2 *", "BN/BN", "LN/BN", "BN/BN"],
    ]
    assert "1 of 2 layers differ" in result.stdout
    same = run_cli("inspect", checkpoints[0], checkpoints[2])
    assert "all 2 layers selected the same pair in net.pth, c.pth" in same.stdout


def test_json_has_a_document_a_checkpoint(checkpoints: list[str]) -> None:
    document = json.loads(run_cli("inspect", *checkpoints, "--json").stdout)
    choices = [
        [layer["mean"]["choice"] for layer in entry["layers"]] for entry in document["checkpoints"]
    ]
    assert choices == [["IN", "BN"], ["IN", "LN"], ["IN", "BN"]]
    hashes = [entry["source"]["sha256"] for entry in document["checkpoints"]]
    assert hashes == [hashlib.sha256(Path(path).read_bytes()).hexdigest() for path in checkpoints]


def test_layers_that_one_lacks_differ(checkpoints: list[str], tmp_path: Path) -> None:
    state = {k: v for k, v in tiny_network().state_dict().items() if not k.startswith("sn2")}
    torch.save(state, tmp_path / "less.pth")
    text = run_cli("inspect", checkpoints[0], str(tmp_path / "less.pth")).stdout
    assert "sn2 *" in text
    assert "1 of 2 layers differ" in text


def test_wrong_input(checkpoints: list[str], tmp_path: Path) -> None:
    message, _ = fails(tmp_path, 1, "inspect", checkpoints[0], str(tmp_path / "none.pth"))
    assert "none.pth" in message
    history = ["--history", str(tmp_path / "h.npz")]
    message, _ = fails(tmp_path, 2, "inspect", *checkpoints, *history)
    assert "one checkpoint" in message


def test_many_checkpoints_are_shown_in_several_tables(checkpoints: list[str]) -> None:
    """At 60 columns and with long names everything is there."""
    text = plain(on_terminal("inspect", *(checkpoints * 4), columns=60))
    assert max(map(len, text)) <= 60
    assert "…" not in "".join(text)
    joined = " ".join("\n".join(text).split())
    assert all(f"{number}: " in joined for number in range(1, 13))
    rows = [line for line in text if line.startswith("│ sn2 *")]
    assert sum(line.count("/") for line in rows) == 12
