"""Write a model to a file and check the file."""

from __future__ import annotations

import hashlib
from pathlib import Path

import onnx
import onnx_ir as ir

from ssn_prune.errors import ExportError, OutputError, first_line
from ssn_prune.files import external_name, write_errors
from ssn_prune.text import shown, without_surrogates


def save_checked(graph: ir.Model, temporary: Path, target: Path, limit: int) -> str | None:
    """Save a model and check that the file is valid.

    Args:
        graph: The model.
        temporary: The file to write, with a file of weights next to it if there is one. Both are
            moved to the place of ``target`` later.
        target: Its final path.
        limit: Bytes of weights above which they are written to a file of their own.

    Returns:
        The name of the file of weights; None if they are embedded.

    Raises:
        ExportError: The graph is not valid ONNX.
        OutputError: The file cannot be written.
    """
    weights = [value.const_value for value in graph.graph.initializers.values()]
    tensors = [tensor for tensor in weights if tensor is not None]
    name = None
    with write_errors(target):
        if sum(tensor.nbytes for tensor in tensors) > limit:
            name = _save_with_external_data(graph, tensors, temporary, target)
        else:
            ir.save(graph, temporary)
    check(temporary)
    return name


def _save_with_external_data(
    graph: ir.Model, tensors: list[ir.TensorProtocol], temporary: Path, target: Path
) -> str:
    digest = hashlib.sha256()
    for tensor in tensors:
        digest.update(tensor.tobytes())
    name = external_name(target, digest.hexdigest()[:16])
    if name != without_surrogates(name):
        raise OutputError(
            f"{target} cannot name its file of weights",
            expected="a name in UTF-8, as a model with its weights in another file stores it",
            found=shown(target.name),
            hint="choose another name",
        )
    ir.save(graph, temporary, external_data=name)
    return name


def check(path: Path) -> None:
    """Check a file with the ONNX checker.

    Raises:
        ExportError: The file is not valid.
    """
    try:
        onnx.checker.check_model(path, full_check=True)
    except (onnx.checker.ValidationError, onnx.shape_inference.InferenceError) as error:
        raise ExportError(
            "the exported graph is not valid ONNX",
            expected="a graph that onnx.checker accepts",
            found=first_line(error),
            hint="pass another `opset=`, and please report this network",
        ) from error
