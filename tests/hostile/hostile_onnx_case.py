"""One ONNX file that no conversion writes, and the expected results of ``verify`` and ``bench``."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

OK = "ok"
RUNTIME = "runtime_failed"
VERIFICATION = "verification_failed"
ARGUMENT = "bad_argument"

FLOAT = TensorProto.FLOAT
SHAPELESS = [helper.make_tensor_value_info("y", FLOAT, None)]
OWN = [helper.make_opsetid("", 18), helper.make_opsetid("own", 1)]
Edit = Callable[[onnx.ModelProto], None]


@dataclass(frozen=True)
class Place:
    """Where a file is made.

    Attributes:
        folder: A folder for this file alone.
        sound: The bytes of the sound file.
    """

    folder: Path
    sound: bytes

    @property
    def path(self) -> Path:
        return self.folder / "m.onnx"

    @property
    def outside(self) -> Path:
        """A folder next to the file's, from which nothing may be read."""
        return self.folder.parent / f"{self.folder.name}-outside"


@dataclass(frozen=True)
class OnnxCase:
    """One file.

    Attributes:
        name: A unique name.
        make: Makes it.
        verify: The result of ``verify``: ``ok`` or the code of an error.
        bench: The result of ``bench``.
        found: Text in the error of ``bench``; without ``bench``, in that of ``verify``.
        seconds: Time limit.
        options: Options of ``bench``, besides the file.
    """

    name: str
    make: Callable[[Place], object]
    verify: str = RUNTIME
    bench: str = RUNTIME
    found: str = ""
    seconds: int = 60
    options: tuple[str, ...] = ()


def edited(*edits: Edit) -> Callable[[Place], object]:
    """The sound file, changed."""

    def make(place: Place) -> object:
        model = onnx.load_model_from_string(place.sound)
        for edit in edits:
            edit(model)
        return place.path.write_bytes(model.SerializeToString())

    return make


def content(data: bytes) -> Callable[[Place], object]:
    return lambda place: place.path.write_bytes(data)


def instead(*nodes: onnx.NodeProto, inputs=None, outputs=None, weights=(), functions=(), **options):
    """A separate file, from x of shape (N, 1, 8, 8) to y of shape (N, 3)."""

    def make(place: Place) -> object:
        x = [value("x", FLOAT, ["N", 1, 8, 8])] if inputs is None else inputs
        y = [value("y", FLOAT, ["N", 3])] if outputs is None else outputs
        graph = helper.make_graph(nodes, "g", x, y, initializer=list(weights))
        imports = options.get("imports", [helper.make_opsetid("", 18)])
        version = options.get("ir_version", 8)
        model = helper.make_model(
            graph, opset_imports=imports, ir_version=version, functions=list(functions)
        )
        return place.path.write_bytes(model.SerializeToString())

    return make


def node(kind: str, inputs: Iterable[str], outputs: Iterable[str], domain: str = "", **attributes):
    return helper.make_node(kind, list(inputs), list(outputs), domain=domain, **attributes)


def value(name: str, kind: int, shape) -> onnx.ValueInfoProto:
    return helper.make_tensor_value_info(name, kind, shape)


def typed(name: str, kind: onnx.TypeProto) -> onnx.ValueInfoProto:
    return helper.make_value_info(name, kind)


def constant(name: str, array) -> onnx.TensorProto:
    return numpy_helper.from_array(np.asarray(array), name)


def weight(model: onnx.ModelProto, name: str) -> onnx.TensorProto:
    (found,) = [entry for entry in model.graph.initializer if entry.name == name]
    return found


def fill(shape, **names):
    """A constant whose shape is only known at run time."""
    sizes = constant("shape", np.array(shape, np.int64))
    return instead(node("ConstantOfShape", ["shape"], ["y"]), weights=[sizes], **names)
