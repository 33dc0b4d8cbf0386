"""What releases of ONNX Runtime read: the table against the installed one."""

import re

import onnxruntime
import pytest
from onnx import TensorProto, helper

from ssn_prune import ArgumentError, ExportOptions
from ssn_prune.onnx_export.ir_version import ir_version_of_opset
from ssn_prune.runtime.onnx_runtime_versions import DEFAULT_OPSET, RELEASES, readable_by


def refusal(opset: int, ir_version: int) -> str:
    """What the installed runtime says to a file that is too new."""
    x, y = (helper.make_tensor_value_info(name, TensorProto.FLOAT, [1]) for name in "xy")
    graph = helper.make_graph([helper.make_node("Identity", ["x"], ["y"])], "g", [x], [y])
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)])
    model.ir_version = ir_version
    with pytest.raises(Exception, match=r"version|opset") as caught:  # its own classes
        onnxruntime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    return str(caught.value)


def test_the_installed_runtime_reads_what_the_table_says():
    found = readable_by(onnxruntime.__version__)
    newest_format = re.search(r"max supported IR version: (\d+)", refusal(13, 99))[1]
    newest_opset = re.search(r"till opset (\d+)", refusal(99, 4))[1]
    assert (found.opset, found.ir_version) == (int(newest_opset), int(newest_format))


@pytest.mark.parametrize(
    ("version", "opset", "ir_version", "use"),
    [
        ("1.7.0", 13, 7, 13),
        ("1.10.0", 15, 8, 15),
        ("1.13.1", 17, 8, 17),
        ("1.14", 18, 8, 18),
        ("1.17.3", 20, 9, 18),
        ("1.22.1.dev3", 22, 10, 18),
        ("2.0.0", 28, 14, 18),
    ],
)
def test_a_release_reads_what_the_last_row_before_it_says(version, opset, ir_version, use):
    found = readable_by(version)
    assert (found.opset, found.ir_version, found.use_opset) == (opset, ir_version, use)
    assert found.version == version
    assert ir_version_of_opset(found.use_opset) <= found.ir_version


@pytest.mark.parametrize("version", ["1.6.0", "0.5", "", "new", "1", "9" * 5000 + ".1", "-1.2"])
def test_other_versions_are_refused(version):
    with pytest.raises(ArgumentError) as caught:
        readable_by(version)
    assert caught.value.hint


def test_the_table_is_in_order_and_its_default_is_that_of_the_export():
    assert list(RELEASES) == sorted(RELEASES)
    assert [row[1] for row in RELEASES] == sorted({row[1] for row in RELEASES})
    assert ExportOptions().opset == DEFAULT_OPSET
