"""Programs of torch.export, run in torch. Opening one executes what is in the file.

This module imports torch, which the process that runs ONNX files does not need.
"""

from __future__ import annotations

import contextlib
import io
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np
import onnx
import torch
from torch import Tensor
from torch.utils import _pytree as pytree

from ssn_prune.errors import InferenceRuntimeError, first_line
from ssn_prune.pruning.capture.suppress_output import suppress_tracer_output
from ssn_prune.runtime.messages import KINDS_OF_NUMBERS
from ssn_prune.text import printable

TORCH = "torch"
"""Name of the runtime."""


class TorchProgram:
    """A loaded program.

    Args:
        content: The bytes of its file, which must be trusted.
        name: Name of the file, for errors.

    Attributes:
        nodes: Number of calls in it.
        bytes: Size of the file.
        version: The version of torch.

    Raises:
        InferenceRuntimeError: torch cannot load it.
    """

    def __init__(self, content: bytes, name: str) -> None:
        self._name = name
        self.version = torch.__version__
        self.bytes = len(content)
        with _errors(name, "load"):
            if b"torch.ops.torchvision." in content:
                import torchvision  # noqa: F401 - registers the operators
            program = torch.export.load(io.BytesIO(content))
            self._program = program
            self._module = program.module()
        calls = [node for node in program.graph.nodes if node.op == "call_function"]
        self.nodes = len(calls)

    def run(self, arrays: Sequence[np.ndarray]) -> list[np.ndarray]:
        """Run it once.

        Args:
            arrays: Its inputs, in its order.

        Returns:
            Its outputs, in its order.

        Raises:
            InferenceRuntimeError: It cannot be run, or an output is not an array of numbers.
        """
        with _errors(self._name, "run"):
            found = [output.numpy() for output in self.runner(arrays)()]
        if any(array.dtype.kind not in KINDS_OF_NUMBERS for array in found):
            raise _cannot("run", self._name, "outputs that are no numbers")
        return found

    def run_at(self, arrays: Sequence[np.ndarray], values: Sequence[str]) -> list[np.ndarray]:
        """Run it once, and return values inside it.

        Args:
            arrays: Its inputs, in its order.
            values: Names of nodes.

        Raises:
            InferenceRuntimeError: It cannot be run, or lacks one of the values.
        """
        kept = _Recorder(self._module, frozenset(values))
        with _errors(self._name, "run"), torch.no_grad():
            kept.run(*[torch.from_numpy(np.array(array)) for array in arrays])
            return [kept.values[name].numpy() for name in values]

    def runner(self, arrays: Sequence[np.ndarray]) -> Callable[[], list[Tensor]]:
        """A function that runs it on the same inputs each time, to be timed."""
        spec = self._program.call_spec.in_spec
        if spec is None or len(arrays) != spec.num_leaves:
            wanted = 0 if spec is None else spec.num_leaves
            found = f"{wanted} inputs, and the network has {len(arrays)}"
            raise _cannot("run", self._name, found)
        leaves = [torch.from_numpy(np.array(array)) for array in arrays]  # it may write to these
        args, kwargs = pytree.tree_unflatten(leaves, spec)

        def run() -> list[Tensor]:
            with torch.no_grad():
                return pytree.tree_leaves(self._module(*args, **kwargs))

        return run

    def described_inputs(self) -> onnx.ModelProto:
        """Its inputs, described by an ONNX model without nodes, for ``inputs_of``."""
        nodes = {node.name: node for node in self._program.graph.nodes}
        values = []
        for name in self._program.graph_signature.user_inputs:
            value = nodes[str(name)].meta["val"]
            kind = onnx.helper.np_dtype_to_tensor_dtype(
                torch.empty(0, dtype=value.dtype).numpy().dtype
            )
            shape = [size if isinstance(size, int) else str(size) for size in value.shape]
            values.append(onnx.helper.make_tensor_value_info(str(name), kind, shape))
        return onnx.helper.make_model(onnx.helper.make_graph([], "inputs", values, []))


class _Recorder(torch.fx.Interpreter):
    """Runs a graph and keeps copies of some values, since later nodes may write to them."""

    def __init__(self, module: torch.fx.GraphModule, wanted: frozenset[str]) -> None:
        super().__init__(module)
        self._wanted = wanted
        self.values: dict[str, Tensor] = {}

    def run_node(self, n: torch.fx.Node) -> Any:
        """Run one node, and keep its value if it is wanted."""
        result = super().run_node(n)
        if n.name in self._wanted and isinstance(result, Tensor):
            self.values[n.name] = result.clone()
        return result


@contextlib.contextmanager
def _errors(name: str, action: str) -> Iterator[None]:
    """Turn whatever torch or the program raises into a typed error."""
    try:
        with suppress_tracer_output():
            yield
    except InferenceRuntimeError:
        raise
    # Loading and running a file both execute it, so anything may be raised.
    except Exception as error:
        raise _cannot(action, name, first_line(error)) from error


def _cannot(action: str, name: str, found: str) -> InferenceRuntimeError:
    return InferenceRuntimeError(
        f"torch cannot {action} {printable(name)}",
        expected="a torch program for inputs of this network, of this or an older torch",
        found=printable(found),
        hint="check that the file belongs to this checkpoint and input size, and that torch "
        f"{torch.__version__} is not older than the one that wrote it; or convert again",
    )
