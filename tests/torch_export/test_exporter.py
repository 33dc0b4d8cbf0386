"""Torch programs: they load without this package, and nothing of the machine is in them."""

from __future__ import annotations

import json
import os
import re
import struct
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from helpers import TinyNetwork, tiny_network
from networks import Lambda
from torch import Tensor, nn
from torch.nn import functional as F
from torch_programs import members
from torchvision.models.detection import ssdlite320_mobilenet_v3_large
from torchvision.ops import deform_conv2d

from ssn_prune import ExportError, ExportOptions, TorchProgramStats, prune
from ssn_prune.errors import ArgumentError
from ssn_prune.runtime.stored_program import batch_of_program, stored_in_program
from ssn_prune.surgery.nested import tensor_leaves
from ssn_prune.torch_export.exporter import write_pt2
from ssn_prune.verification.torch_runtime import open_pt2

SECRET = 1234.5678


class SecretClassName(TinyNetwork):
    """A network of a user."""


def write(
    network: nn.Module, path: Path, *inputs: Tensor, **options: Any
) -> tuple[TorchProgramStats, dict[str, int] | None]:
    return write_pt2(network, inputs, path, path, ExportOptions(**options))


def small(function: Any) -> nn.Module:
    """A convolution of 3 to 4 channels, called by a function."""
    return Lambda(function, conv=nn.Conv2d(3, 4, 3, padding=1)).eval()


def assert_equal_outputs(network: nn.Module, path: Path, *inputs: Tensor) -> None:
    with torch.no_grad():
        expected = tensor_leaves(network(*inputs))
    found = open_pt2(path)(inputs)
    assert len(found) == len(expected)
    for value, wanted in zip(found, expected, strict=True):
        torch.testing.assert_close(value, wanted, rtol=0, atol=0)


LOADS = """
import sys
sys.modules["ssn_prune"] = None
import torch
try:
    import ssn_prune
except ImportError:
    pass
else:
    raise SystemExit("the package is there")
x = torch.load("x.pt")
module = torch.export.load("m.pt2").module()
torch.save(module(x), "y.pt")
assert not [name for name in sys.modules if name.startswith("ssn_prune.")]
"""


def test_a_process_without_this_package_gives_the_same_at_a_batch_that_no_example_had(
    tmp_path: Path,
) -> None:
    pruned = prune(tiny_network(), torch.randn(2, 1, 8, 8)).model
    write(pruned, tmp_path / "m.pt2", torch.randn(2, 1, 8, 8))
    x = torch.randn(7, 1, 8, 8)
    torch.save(x, tmp_path / "x.pt")
    command = [sys.executable, "-I", "-W", "error", "-c", LOADS]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    with torch.no_grad():
        expected = pruned(x)
    (found,) = torch.load(tmp_path / "y.pt")
    torch.testing.assert_close(found, expected, rtol=0, atol=0)


def test_nothing_of_the_machine_or_of_the_data_is_in_the_file(tmp_path: Path) -> None:
    network = SecretClassName()
    network.load_state_dict(tiny_network().state_dict())
    x = torch.full((2, 1, 8, 8), SECRET)
    write(prune(network.eval(), x).model, tmp_path / "m.pt2", x)
    found = members(tmp_path / "m.pt2")
    content = (tmp_path / "m.pt2").read_bytes() + b"".join(found.values())
    folders = [Path(__file__).parent, Path(torch.__file__).parents[1], tmp_path, Path.home()]
    texts = [*map(str, folders), "site-packages", "helpers", "SecretClassName", "test_exporter"]
    for text in [*texts, "stack_trace", "torch_fn", "from_node", ".py"]:
        assert os.fsencode(text) not in content, text
    assert struct.pack("<f", SECRET) not in content
    # The control: torch's own file has all of these.
    torch.export.save(torch.export.export(network, (x,)), tmp_path / "own.pt2")
    own = b"".join(members(tmp_path / "own.pt2").values())
    assert b"SecretClassName" in own
    assert b"stack_trace" in own
    assert struct.pack("<f", SECRET) in own
    modules = re.findall(rb'"nn_module_stack": "([^"]+)"', found["archive/models/model.json"])
    assert any(b"conv1,torch.nn.modules.conv.Conv2d" in entry for entry in modules)


def test_a_weight_that_is_a_slice_does_not_bring_the_rest_along(tmp_path: Path) -> None:
    network = small(lambda m, x: m.conv(x))
    memory = torch.full((1000,), SECRET)
    memory[100:208] = torch.randn(108)
    network.conv.weight = nn.Parameter(memory[100:208].view(4, 3, 3, 3))
    write(network, tmp_path / "m.pt2", torch.randn(2, 3, 8, 8))
    assert struct.pack("<f", SECRET) not in b"".join(members(tmp_path / "m.pt2").values())
    assert network.conv.weight.untyped_storage().nbytes() == 4000
    assert_equal_outputs(network, tmp_path / "m.pt2", torch.randn(3, 3, 8, 8))


def without_gradients(m: nn.Module, x: Tensor) -> Tensor:
    with torch.no_grad(), torch.autocast("cpu", enabled=False):
        return m.conv(x) + 1


NETWORKS = {
    "regions": without_gradients,
    "a constant": lambda m, x: m.conv(x) * torch.tensor([1.0, 2.0, 3.0, 4.0]).view(4, 1, 1),
    "arithmetic on sizes": lambda m, x: m.conv(x).reshape(x.shape[0] * 2, -1),
    "one output twice, and an input": lambda m, x: (lambda y: (y, y, x))(m.conv(x)),
    "named outputs": lambda m, x: {"a": m.conv(x), "left out": None, "b": x},
}


@pytest.mark.parametrize("name", NETWORKS)
def test_only_operators_of_torch_are_called(name: str, tmp_path: Path) -> None:
    network = small(NETWORKS[name])
    stats, operators = write(network, tmp_path / "m.pt2", torch.randn(2, 3, 8, 8))
    assert operators
    assert stats.libraries == ()
    assert sum(stats.operators.values()) == stats.nodes
    assert all(key.startswith("aten.") or "." not in key for key in stats.operators)
    assert_equal_outputs(network, tmp_path / "m.pt2", torch.randn(5, 3, 8, 8))


def test_what_is_no_tensor_is_left_out_and_named(tmp_path: Path) -> None:
    stats, _ = write(small(NETWORKS["named outputs"]), tmp_path / "m.pt2", torch.randn(2, 3, 8, 8))
    assert stats.left_out == ("left_out (None)",)
    assert stats.outputs == {"a": ["batch", 4, 8, 8], "b": ["batch", 3, 8, 8]}


def test_operators_of_torchvision_are_named(tmp_path: Path) -> None:
    def deformed(m: nn.Module, x: Tensor) -> Tensor:
        offset = x.new_zeros(x.shape[0], 18, *x.shape[2:])
        return deform_conv2d(x, offset, m.conv.weight, padding=1)

    network = small(deformed)
    stats, _ = write(network, tmp_path / "m.pt2", torch.randn(2, 3, 8, 8))
    assert stats.libraries == ("torchvision",)
    assert_equal_outputs(network, tmp_path / "m.pt2", torch.randn(3, 3, 8, 8))


def test_an_operator_that_others_lack_is_refused_by_name(tmp_path: Path) -> None:
    library = torch.library.Library("of_the_tests", "FRAGMENT")
    library.define("twice(Tensor x) -> Tensor")
    library.impl("twice", lambda x: x * 2, "CompositeExplicitAutograd")
    torch.library.register_fake("of_the_tests::twice", torch.empty_like)
    network = small(lambda m, x: torch.ops.of_the_tests.twice(m.conv(x)))
    with pytest.raises(ExportError, match=r"of_the_tests\.twice"):
        write(network, tmp_path / "m.pt2", torch.randn(2, 3, 8, 8))
    assert not list(tmp_path.iterdir())


def test_detection_models_are_refused_with_the_reason(tmp_path: Path) -> None:
    network = ssdlite320_mobilenet_v3_large(weights=None, weights_backbone=None)
    with pytest.raises(ExportError, match="how many boxes"):
        write_pt2(network, ([torch.randn(3, 320, 320)],), tmp_path, tmp_path, ExportOptions())


@pytest.mark.parametrize(
    "option",
    [{"target": "ncnn"}, {"opset": 17}, {"ir_version": 9}, {"input_names": ("x",)}],
    ids=lambda option: next(iter(option)),
)
def test_options_of_onnx_files_are_refused(option: dict[str, Any], tmp_path: Path) -> None:
    with pytest.raises(ArgumentError, match="ONNX files") as caught:
        write(small(lambda m, x: m.conv(x)), tmp_path / "m.pt2", torch.randn(2, 3, 8, 8), **option)
    assert f"`{next(iter(option))}=`" in str(caught.value.hint)


def test_a_network_with_gates_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ExportError, match="prune it first"):
        write(tiny_network(), tmp_path / "m.pt2", torch.randn(2, 1, 8, 8))


def test_open_sizes_stay_open_also_where_onnx_has_no_operator(tmp_path: Path) -> None:
    network = small(lambda m, x: F.adaptive_avg_pool2d(m.conv(x), 2))
    stats, _ = write(network, tmp_path / "m.pt2", torch.randn(2, 3, 8, 8), dynamic="spatial")
    assert stats.inputs == {"x": ["batch", 3, "height", "width"]}
    assert stats.outputs == {"output": ["batch", 4, 2, 2]}
    for size in ((1, 3, 8, 8), (3, 3, 11, 14), (2, 3, 40, 9)):
        assert_equal_outputs(network, tmp_path / "m.pt2", torch.randn(size))


@pytest.mark.parametrize(("dynamic", "batch"), [("none", 2), ("batch", None)])
def test_the_file_says_what_it_takes(dynamic: str, batch: int | None, tmp_path: Path) -> None:
    said = {"ssn_prune.source": "a.pth", "ssn_prune.torch_version": "1"}
    path = tmp_path / "m.pt2"
    x = torch.randn(2, 3, 8, 8)
    write(small(lambda m, x: m.conv(x)), path, x, dynamic=dynamic, metadata=said)
    stored = stored_in_program(path)
    assert stored.items() >= said.items()
    assert json.loads(stored["ssn_prune.inputs"]) == {"x": [batch or "batch", 3, 8, 8]}
    assert batch_of_program(path) == batch


def test_the_same_network_gives_the_same_bytes(tmp_path: Path) -> None:
    network = small(lambda m, x: m.conv(x))
    hashes = [
        write(network, tmp_path / name, torch.randn(2, 3, 8, 8))[0].sha256 for name in ("a", "b")
    ]
    assert hashes[0] == hashes[1]
