"""A conversion needs about as much memory as a bare export."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from ssn_prune import SSN2d

BYTES_PER_BYTE = 5.6
"""Single runs, on quiet and on busy machines, measured 4.9 to 5.45; one more copy of the weights
adds 1."""
_CONVERT = """
import pathlib, re, sys
from ssn_prune.__main__ import main
try:
    main()
finally:
    found = re.search(r"VmHWM:\\s+(\\d+) kB", pathlib.Path("/proc/self/status").read_text())
    pathlib.Path("peak").write_text(found[1])
"""


class Wide(nn.Module):
    """Nearly all weights: convolutions on small maps, with a layer after each.

    ONNX Runtime copies kernels to another layout if their channels are multiples of 16.
    """

    input_size = (3, 8, 8)

    def __init__(self, width: int = 8) -> None:
        super().__init__()
        self.stem = nn.Conv2d(3, width, 3)
        self.convs = nn.ModuleList(nn.Conv2d(width, width, 3, padding=1) for _ in range(12))
        self.norms = nn.ModuleList(SSN2d(width) for _ in self.convs)

    def forward(self, x: Tensor) -> Tensor:
        x = self.stem(x)
        for conv, norm in zip(self.convs, self.norms, strict=True):
            x = torch.relu(norm(conv(x)))
        return x.mean((2, 3))


def peak_of_conversion(width: int, folder: Path) -> tuple[int, int]:
    """Peak and size of the checkpoint in bytes."""
    torch.manual_seed(0)
    model = Wide(width)
    with torch.no_grad():
        for index, norm in enumerate(model.norms):
            for gate, entry in ((norm.mean_weight, index % 3), (norm.var_weight, 2)):
                gate.copy_(torch.eye(3)[entry])
            norm.mean_fixed.fill_(1)
            norm.var_fixed.fill_(1)
    path = folder / f"{width}.pth"
    torch.save(model.state_dict(), path)
    command = [sys.executable, "-c", _CONVERT, "convert", str(path), "--quiet", "--force"]
    command += ["--arch", f"{Path(__file__).stem}:Wide", "--arch-args", f'{{"width": {width}}}']
    paths = os.pathsep.join(map(str, Path(__file__).parents[:2]))
    environment = {"PYTHONPATH": paths, "OMP_NUM_THREADS": "1"}
    done = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return 1024 * int((folder / "peak").read_text()), path.stat().st_size


@pytest.mark.skipif(sys.platform != "linux", reason="the peak is read from Linux's /proc")
def test_peak_memory_per_byte_of_the_checkpoint(tmp_path: Path) -> None:
    small, _ = peak_of_conversion(8, tmp_path)
    # What else the machine does adds up to 40 MB to a run and never takes any away.
    (large, size), again = (peak_of_conversion(400, tmp_path) for _ in range(2))
    large = min(large, again[0])
    assert size > 60e6
    assert 1.9 * size < large - small < BYTES_PER_BYTE * size
