"""ONNX files with external weights, and files that are not ONNX files."""

from __future__ import annotations

import os
import socket
from collections.abc import Callable

import numpy as np
import onnx
from hostile_onnx_case import (
    FLOAT,
    OK,
    OWN,
    OnnxCase,
    Place,
    constant,
    content,
    edited,
    instead,
    node,
    value,
    weight,
)
from onnx import TensorProto, helper

# External weights.


def elsewhere(
    location: str,
    prepare: Callable[[Place, bytes], object] = lambda _place, _data: None,
    **entries: str,
):
    """One weight of the sound file in another file; ``prepare`` puts the right bytes somewhere."""

    def make(place: Place) -> object:
        model = onnx.load_model_from_string(place.sound)
        tensor = weight(model, "conv1.weight")
        data = bytes(tensor.raw_data)
        point_to(tensor, location.replace("OUTSIDE", str(place.outside)), **entries)
        prepare(place, data)
        return place.path.write_bytes(model.SerializeToString())

    return make


def point_to(tensor: onnx.TensorProto, location: str, **entries: str) -> None:
    tensor.ClearField("raw_data")
    tensor.data_location = TensorProto.EXTERNAL
    for key, text in {"location": location, **entries}.items():
        tensor.external_data.add(key=key, value=text)


def inside(place: Place, data: bytes) -> None:
    (place.folder / "w.data").write_bytes(data)


def outside(place: Place, data: bytes) -> None:
    place.outside.mkdir()
    (place.outside / "w.data").write_bytes(data)


def link(place: Place, data: bytes) -> None:
    outside(place, data)
    (place.folder / "w.data").symlink_to(place.outside / "w.data")


def link_of_folder(place: Place, data: bytes) -> None:
    outside(place, data)
    (place.folder / "sub").symlink_to(place.outside)


def link_inside(place: Place, data: bytes) -> None:
    (place.folder / "real.data").write_bytes(data)
    (place.folder / "w.data").symlink_to("real.data")


def link_to(target: str):
    return lambda place, _data: (place.folder / "w.data").symlink_to(target)


def pipe_outside(place: Place, _data: bytes) -> None:
    place.outside.mkdir()
    os.mkfifo(place.outside / "w.data")


def in_constant(place: Place) -> object:
    """The attribute of a node, in a branch of another."""
    tensor = constant("w", np.zeros((1, 3), np.float32))
    point_to(tensor, "../../../etc/passwd")
    branch = helper.make_graph(
        [node("Constant", [], ["b"], value=tensor)], "b", [], [value("b", FLOAT, None)]
    )
    make = instead(
        node("If", ["c"], ["y"], then_branch=branch, else_branch=branch),
        weights=[constant("c", np.array(True))],
    )
    return make(place)


def in_function(place: Place) -> object:
    tensor = constant("w", np.zeros((1, 3), np.float32))
    point_to(tensor, "../../../etc/passwd")
    function = helper.make_function(
        "own",
        "F",
        [],
        ["y"],
        [node("Constant", [], ["y"], value=tensor)],
        [helper.make_opsetid("", 18)],
    )
    return instead(node("F", [], ["y"], domain="own"), functions=[function], imports=OWN)(place)


def in_sparse(place: Place) -> object:
    values = constant("w", np.ones(1, np.float32))
    point_to(values, "/dev/zero")
    sparse = helper.make_sparse_tensor(values, constant("i", np.zeros(1, np.int64)), [3])
    return edited(lambda m: m.graph.sparse_initializer.append(sparse))(place)


BESIDE = "not next to it"
EXTERNAL = [
    OnnxCase("weights: beside the file, sound", elsewhere("w.data", inside), OK, OK),
    OnnxCase("weights: behind a link in the folder, sound", elsewhere("w.data", link_inside), OK, OK),
    OnnxCase("weights: one folder up", elsewhere("../m-outside/w.data", outside), found=BESIDE),
    OnnxCase("weights: up and down", elsewhere("sub/../../m-outside/w.data", outside), found=BESIDE),
    OnnxCase("weights: up in Windows", elsewhere("..\\m-outside\\w.data", outside), found=BESIDE),
    OnnxCase("weights: an absolute path", elsewhere("OUTSIDE/w.data", outside), found=BESIDE),
    OnnxCase("weights: an address", elsewhere("file:///etc/passwd"), found=BESIDE),
    OnnxCase("weights: memory of the process", elsewhere("*/_ORT_MEM_ADDR_/*", offset="4096", length="144"), found=BESIDE),
    OnnxCase("weights: behind a link", elsewhere("w.data", link), found=BESIDE),
    OnnxCase("weights: behind a link of a folder", elsewhere("sub/w.data", link_of_folder), found=BESIDE),
    OnnxCase("weights: a link to itself", elsewhere("w.data", link_to("w.data")), found=BESIDE),
    OnnxCase("weights: endless zeros", elsewhere("w.data", link_to("/dev/zero")), found=BESIDE),
    OnnxCase("weights: a pipe", elsewhere("w.data", lambda place, _: os.mkfifo(place.folder / "w.data")), found=BESIDE),
    OnnxCase("weights: a pipe elsewhere", elsewhere("../m-outside/w.data", pipe_outside), found=BESIDE),
    OnnxCase("weights: a folder", elsewhere("w.data", lambda place, _: (place.folder / "w.data").mkdir()), found=BESIDE),
    OnnxCase("weights: the folder itself", elsewhere("."), found=BESIDE),
    OnnxCase("weights: missing", elsewhere("w.data"), found=BESIDE),
    OnnxCase("weights: without a name", elsewhere(""), found=BESIDE),
    OnnxCase("weights: a name with a NUL", elsewhere("w.data\0x", inside), found=BESIDE),
    OnnxCase("weights: a name with control characters", elsewhere("\x1b[2J\n"), found=BESIDE),
    OnnxCase("weights: a name of 5,000 letters", elsewhere("x" * 5000), found=BESIDE),
    OnnxCase("weights: too short", elsewhere("w.data", lambda place, data: inside(place, data[:-4]))),
    OnnxCase("weights: at -4", elsewhere("w.data", inside, offset="-4"), found=BESIDE),
    OnnxCase("weights: at 2^63", elsewhere("w.data", inside, offset=str(2**63)), found=BESIDE),
    OnnxCase("weights: at x", elsewhere("w.data", inside, offset="x"), found=BESIDE),
    OnnxCase("weights: of 10^18 bytes", elsewhere("w.data", inside, length=str(10**18)), found=BESIDE),
    OnnxCase("weights: of fewer bytes than numbers", elsewhere("w.data", inside, length="4")),
    OnnxCase("weights: in a branch", in_constant, found=BESIDE),
    OnnxCase("weights: in a function", in_function, found=BESIDE),
    OnnxCase("weights: sparse ones", in_sparse, found=BESIDE),
]  # fmt: skip


# Files that are not ONNX files.


def bound_socket(place: Place) -> object:
    with socket.socket(socket.AF_UNIX) as made:
        return made.bind(str(place.path))


def large_hole(place: Place) -> object:
    place.path.touch()
    return os.truncate(place.path, 3 << 30)


NO_FILE = "is not an ONNX file"
FILES = [
    OnnxCase("files: empty", content(b""), found=NO_FILE),
    OnnxCase("files: text", content(b"not a graph"), found=NO_FILE),
    OnnxCase("files: random bytes", content(np.random.default_rng(0).bytes(100_000)), found=NO_FILE),
    OnnxCase("files: zeros", content(bytes(1000)), found=NO_FILE),
    OnnxCase("files: half", lambda place: place.path.write_bytes(place.sound[: len(place.sound) // 2]), found=NO_FILE),
    OnnxCase("files: a graph that claims 2 GB", content(b"\x08\x08\x3a\xff\xff\xff\xff\x07"), found=NO_FILE),
    OnnxCase("files: a graph that claims 2^63 bytes", content(b"\x08\x08\x3a" + b"\xff" * 9 + b"\x01"), found=NO_FILE),
    OnnxCase("files: an empty graph", content(b"\x08\x08\x3a\x00")),
    OnnxCase("files: no graph", content(b"\x08\x08"), found=NO_FILE),
    OnnxCase("files: 200,000 nodes without a name", content(b"\x08\x08\x3a\x80\xb5\x18" + b"\x0a\x00" * 200_000)),
    OnnxCase("files: a hole of 3 GB", large_hole, found="2 GB"),
    OnnxCase("files: a folder", lambda place: place.path.mkdir(), found=NO_FILE),
    OnnxCase("files: a pipe", lambda place: os.mkfifo(place.path), found=NO_FILE),
    OnnxCase("files: a socket", bound_socket, found=NO_FILE),
    OnnxCase("files: endless zeros", lambda place: place.path.symlink_to("/dev/zero"), found=NO_FILE),
    OnnxCase("files: a link to itself", lambda place: place.path.symlink_to("m.onnx")),
    OnnxCase("files: nothing", lambda _place: None),
]  # fmt: skip
