"""An option that a refusal names works: it is taken from the message and tried."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
import torch
from cli_checks import fails, run_cli
from helpers import tiny_network

from ssn_prune.cli.exit_codes import FAILURE, OK

NETWORKS = """
import torch
from helpers import TinyNetwork
from torch.nn import functional


class PerBatch(TinyNetwork):
    def forward(self, x):
        return super().forward(x) * (2 if x.shape[0] > 4 else 1)


class Pooling(TinyNetwork):
    def forward(self, x):
        y = torch.relu(self.sn1(self.conv1(x)))
        return self.fc(functional.adaptive_avg_pool2d(self.sn2(self.conv2(y)), 2).amax((2, 3)))
"""


@pytest.mark.parametrize(
    ("network", "options", "words"),
    [
        ("PerBatch", (), ("depends on the batch size", "x.shape[0] <= 4")),
        ("Pooling", ("--dynamic", "spatial"), ("adaptive_avg_pool2d to 2x2",)),
    ],
)
def test_the_option_that_a_refusal_names_works(
    network: str,
    options: tuple[str, ...],
    words: tuple[str, ...],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.chdir(tmp_path)
    torch.save(tiny_network().state_dict(), "net.pth")
    (tmp_path / "advised_networks.py").write_text(NETWORKS)
    command = ("convert", "net.pth", "--arch", f"advised_networks:{network}")
    text, error = fails(tmp_path, FAILURE, *command, *options)
    assert all(word in text for word in words)
    assert "report" not in error["hint"]
    named = re.search(r"(--static-batch|--dynamic) (\w+)", error["hint"])
    assert named is not None
    found = run_cli(*command, *named.groups())
    assert found.exit_code == OK, found.stderr
