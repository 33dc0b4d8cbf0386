"""A conversion leaves the process and the caller's network as they were, also if it fails."""

from __future__ import annotations

import os
import random
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from library_networks import FAILING, OneLayer, as_loaded
from process_state import changes, network_state, process_state
from torch import Tensor

import ssn_prune
from ssn_prune import convert, export_onnx, load_checkpoint, prune, random_batches, verify
from ssn_prune.errors import ArgumentError, OutputError, SsnPruneError

SUPPORT = Path(__file__).parents[1] / "support"
X = torch.randn(2, 2, 5, 5, generator=torch.Generator().manual_seed(0))


pytestmark = pytest.mark.usefixtures("own_temporary_folder")


def does_nothing(*given: object) -> None:
    """A hook."""


def lived_in(model: OneLayer) -> OneLayer:
    """In the middle of somebody's work: mixed modes, gradients, hooks, a frozen parameter."""
    model.train()
    model.conv.eval()
    model.norm.weight.requires_grad_(False)
    model.conv.weight.grad = torch.ones_like(model.conv.weight)
    model.conv.register_forward_hook(does_nothing)
    model.norm.register_forward_pre_hook(does_nothing)
    model.conv.bias.register_hook(does_nothing)
    model.remembered = [1, 2]
    return model


def test_a_state_that_changes_is_seen() -> None:
    model = lived_in(OneLayer())
    before, network = process_state(), network_state(model)
    with pytest.MonkeyPatch.context() as patch, torch.random.fork_rng():
        patch.setenv("SSN_PRUNE_TEST", "1")
        random.random()
        np.random.random()
        torch.rand(())
        with torch.no_grad():
            found = changes(before, process_state())
    assert found.keys() == {
        "environment",
        "gradients",
        *(f"{name}'s generator" for name in ("torch", "NumPy", "Python")),
    }
    with torch.no_grad():
        model.norm.running_mean[0] += 1
    model.norm.training = False
    assert changes(network, network_state(model)).keys() == {
        "norm: module",
        "norm: running_mean",
        "norm.training",
    }


_FIRST = """
import pathlib, tempfile
from library_networks import OneLayer, as_loaded
from process_state import changes, process_state, threads_of_process
import ssn_prune
from ssn_prune import convert
loaded = as_loaded(OneLayer())
before, threads = process_state(), threads_of_process()
convert(loaded, "m.onnx")
assert threads_of_process() == threads
found = changes(before, process_state())
old, new = found.pop("temporary files")
(made,) = set(new) - set(old)
assert made.startswith("torchinductor")  # an import of torch makes it
assert found.keys() <= {"logger torch.__trace"}, found  # its handler, unless traces are asked for
assert not list(pathlib.Path(tempfile.gettempdir(), made).iterdir())
"""


def test_so_does_the_first_conversion_of_a_process(tmp_path: Path) -> None:
    (tmp_path / "temporary").mkdir()
    command = [sys.executable, "-c", _FIRST]
    paths = os.pathsep.join(map(str, (Path(ssn_prune.__file__).parents[1], SUPPORT)))
    changed = {"PYTHONPATH": paths, "TMPDIR": str(tmp_path / "temporary")}
    changed["ORT_DISABLE_TELEMETRY"] = "1"  # ONNX Runtime's own file; see docs/reliability.md
    environment = {name: os.environ[name] for name in os.environ if "INDUCTOR" not in name}
    done = subprocess.run(
        command, env=environment | changed, cwd=tmp_path, capture_output=True, text=True
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


def test_all_steps_leave_process_and_network_alone(tmp_path: Path) -> None:
    model = lived_in(OneLayer())
    before, network = process_state(), network_state(model)
    convert(as_loaded(model), tmp_path / "a.onnx")
    result = prune(model, X)
    export_onnx(result.model, X, tmp_path / "b.onnx")
    assert verify(result, tmp_path / "b.onnx", random_batches([(2, 5, 5)], [2, 3])).passed
    assert changes(before, process_state()) == {}
    assert changes(network, network_state(model)) == {}


@pytest.mark.parametrize("stage", FAILING)
def test_so_does_a_network_that_fails(stage: str, tmp_path: Path) -> None:
    make, code = FAILING[stage]
    model = lived_in(make())
    before, network = process_state(), network_state(model)
    with pytest.raises(SsnPruneError) as raised:
        convert(as_loaded(model), tmp_path / "m.onnx")
    assert raised.value.code == code
    del raised
    assert changes(before, process_state()) == {}
    assert changes(network, network_state(model)) == {}
    assert list(tmp_path.iterdir()) == []


def test_so_does_an_output_that_cannot_be_written(tmp_path: Path) -> None:
    model = lived_in(OneLayer())
    before, network = process_state(), network_state(model)
    with pytest.raises(OutputError):
        convert(as_loaded(model), tmp_path / "missing" / "m.onnx")

    def a_folder_appears(step: str) -> None:
        (tmp_path / "m.onnx").mkdir(exist_ok=True)

    with pytest.raises(OutputError, match="is a directory"):
        convert(as_loaded(model), tmp_path / "m.onnx", progress=a_folder_appears)
    assert changes(before, process_state()) == {}
    assert changes(network, network_state(model)) == {}
    assert [path.name for path in tmp_path.iterdir()] == ["m.onnx"]


class Interrupted(OneLayer):
    """The user presses Ctrl-C in one of the calls of the network, traced or not."""

    calls = 0
    last = 0

    def forward(self, x: Tensor) -> Tensor:
        type(self).calls += 1
        if self.calls == self.last:
            raise KeyboardInterrupt
        return super().forward(x)


def test_so_does_an_interrupt_wherever_the_network_runs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = lived_in(Interrupted())
    before, network = process_state(), network_state(model)
    convert(as_loaded(model), tmp_path / "m.onnx")
    calls = Interrupted.calls
    assert calls > 8
    for call in (*range(1, calls, 3), calls):
        monkeypatch.setattr(Interrupted, "calls", 0)
        monkeypatch.setattr(Interrupted, "last", call)
        with pytest.raises(KeyboardInterrupt):
            convert(as_loaded(model), tmp_path / "n.onnx")
        assert changes(before, process_state()) == {}, call
        assert changes(network, network_state(model)) == {}, call
    assert [path.name for path in tmp_path.iterdir()] == ["m.onnx"]


def test_a_caller_in_the_middle_of_a_mixed_precision_step(tmp_path: Path) -> None:
    model = lived_in(OneLayer())
    with torch.autocast("cpu", dtype=torch.bfloat16), torch.no_grad():
        before = process_state()
        report = convert(as_loaded(model), tmp_path / "m.onnx")
        assert changes(before, process_state()) == {}
    assert before["autocast"] == (True, torch.bfloat16)
    assert report.verification is not None
    assert report.verification.passed


def draws() -> OneLayer:
    """A factory that uses every generator, and a network that does."""
    torch.manual_seed(random.randrange(9))
    np.random.seed(np.random.randint(9))
    return OneLayer(then=_draws_in_vain)


def ends() -> OneLayer:
    """A factory that ends the program."""
    random.random()
    raise SystemExit


def _draws_in_vain(model: OneLayer, y: Tensor) -> Tensor:
    random.random()
    np.random.random()
    torch.rand(())
    return y


def test_generators_are_where_they_were(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    torch.save(OneLayer().state_dict(), tmp_path / "c.pth")
    monkeypatch.syspath_prepend(str(Path(__file__).parent))
    before = process_state()
    loaded = load_checkpoint(
        tmp_path / "c.pth", arch=f"{Path(__file__).stem}:draws", input_size=(2, 5, 5)
    )
    convert(loaded, tmp_path / "m.onnx")
    assert changes(before, process_state()) == {}


def test_a_factory_that_ends_the_program_leaves_it_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    torch.save(OneLayer().state_dict(), tmp_path / "c.pth")
    monkeypatch.syspath_prepend(str(Path(__file__).parent))
    before = process_state()
    with pytest.raises(ArgumentError, match="ends the program"):
        load_checkpoint(tmp_path / "c.pth", arch=f"{Path(__file__).stem}:ends")
    assert changes(before, process_state()) == {}
