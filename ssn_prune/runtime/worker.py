"""The worker side of :mod:`ssn_prune.runtime.process`: carries out actions on exported files.

It may hang, crash or run out of memory at any point. The process that started it will kill it.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Sequence
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime

from ssn_prune.errors import SsnPruneError
from ssn_prune.runtime.backends.running import RunningFile
from ssn_prune.runtime.backends.table import backend_of
from ssn_prune.runtime.external_data import external_files
from ssn_prune.runtime.file_options import batch_of, options_of
from ssn_prune.runtime.file_outputs import outputs_of
from ssn_prune.runtime.inputs import Input, inputs_of, make_feed
from ssn_prune.runtime.limits import limit_this_process
from ssn_prune.runtime.measuring import (
    added_memory,
    peak_added,
    profile_nodes,
    runner_of,
    time_in_turns,
)
from ssn_prune.runtime.messages import receive, send
from ssn_prune.runtime.providers import CPU
from ssn_prune.runtime.reading import read_model
from ssn_prune.runtime.sessions import open_session, run_session, runtime_error
from ssn_prune.runtime.stored_metadata import (
    preprocessing_text,
    stored_layer_values,
    stored_selection,
    stored_source,
    stored_target,
)
from ssn_prune.runtime.trust import trusted_content

Arrays = Sequence[np.ndarray]
Answer = tuple[Any, Arrays]


class Worker:
    """Every public method is an action: it takes plain values and arrays, and returns both.

    Attributes:
        name: Name of the current file, for errors.
    """

    def __init__(self) -> None:
        self.name = ""
        self._opened: Any = None
        self._run: Callable[[Arrays], list[np.ndarray]]
        self._runners: dict[str, Callable[[], object]] = {}

    def source(self, path: str) -> Answer:
        """The checkpoint that a file names."""
        found = stored_source(read_model(Path(path)))
        return (None if found is None else asdict(found)), ()

    def facts(self, path: str) -> Answer:
        """The fixed batch size of a file, None if it is dynamic, and its preprocessing."""
        model = read_model(Path(path))
        return {"batch": batch_of(model), "preprocessing": preprocessing_text(model)}, ()

    def open(self, path: str, threads: int, provider: str = CPU) -> Answer:
        """Open a file to run it on given inputs; the answer describes its outputs and layers."""
        model = read_model(Path(path))
        external_files(model, Path(path))
        outputs = [asdict(output) for output in outputs_of(model)]
        described = {
            "outputs": outputs,
            "layer_values": stored_layer_values(model),
            "preprocessing": preprocessing_text(model),
        }
        del model
        session = self._exact_session(Path(path), threads, provider)
        described["provider"] = session.get_providers()[0]
        self._run = partial(run_session, session, self.name)
        return described, ()

    def open_in(self, path: str, threads: int, runtime: str) -> Answer:
        """Choose a runtime, which opens a file at its first run; the answer describes both."""
        model = read_model(Path(path))
        external_files(model, Path(path))
        backend = backend_of(runtime)
        self._run = RunningFile(backend, Path(path), threads)
        outputs = [asdict(output) for output in outputs_of(model)]
        found = {"outputs": outputs, "options": asdict(options_of(model))}
        found["preprocessing"] = preprocessing_text(model)
        return found | {"version": backend.version()}, ()

    def open_program(self, path: str, threads: int, allowed: list[str] | None) -> Answer:
        """Open a torch program to run it on given inputs. This executes what is in it."""
        self._opened = self._program(path, threads, allowed)
        self._run = self._opened.run
        return None, ()

    def run_program_at(self, arrays: Arrays, values: Sequence[str]) -> Answer:
        """Run the open torch program, and return values inside it."""
        return None, self._opened.run_at(arrays, values)

    def run(self, arrays: Arrays = ()) -> Answer:
        """Run the open file."""
        return None, self._run(arrays)

    def run_at(
        self, arrays: Arrays, path: str, threads: int, values: Sequence[str], provider: str = CPU
    ) -> Answer:
        """Run a file, and return values inside it; none if it exceeds protobuf's 2 GB."""
        model = onnx.load(path, load_external_data=True)
        outputs = [output.name for output in model.graph.output]
        extra = [value for value in dict.fromkeys(values) if value not in outputs]
        model.graph.output.extend(
            onnx.helper.make_empty_tensor_value_info(value) for value in extra
        )
        if model.ByteSize() > onnx.checker.MAXIMUM_PROTOBUF:
            return [], ()
        content = model.SerializeToString()
        del model
        session = self._exact_session(content, threads, provider)
        found = dict(zip(outputs + extra, run_session(session, self.name, arrays), strict=True))
        return list(values), [found[value] for value in values]

    def _exact_session(self, source: Path | bytes, threads: int, provider: str) -> Any:
        return open_session(
            source, self.name, threads=threads, spinning=False, provider=provider, float32=True
        )

    def add(
        self,
        path: str,
        threads: int,
        batch: int,
        sizes: Sequence[Sequence[int]],
        layers: bool,
        provider: str = CPU,
    ) -> Answer:
        """Open a file to time it, and run it once."""
        model = read_model(Path(path))
        external = external_files(model, Path(path))
        inputs = inputs_of(model, self.name, batch, [tuple(size) for size in sizes])
        described: dict[str, Any] = {
            "target": stored_target(model),
            "version": onnxruntime.__version__,
            "nodes": len(model.graph.node),
            "bytes": Path(path).stat().st_size + sum(external.values()),
            "inputs": [asdict(entry) for entry in inputs],
            "layers": [asdict(layer) for layer in stored_selection(model, self.name)]
            if layers
            else [],
        }
        del model
        feed = make_feed(inputs)
        run, described["provider"] = runner_of(Path(path), self.name, threads, feed, provider)
        self._runners[self.name] = run
        run()
        return described, ()

    def add_program(
        self,
        path: str,
        threads: int,
        batch: int,
        sizes: Sequence[Sequence[int]],
        allowed: list[str] | None,
    ) -> Answer:
        """Open a torch program to time it, and run it once."""
        program = self._program(path, threads, allowed)
        shapes = [tuple(size) for size in sizes]
        inputs = inputs_of(program.described_inputs(), self.name, batch, shapes)
        self._runners[self.name] = program.runner(list(make_feed(inputs).values()))
        program.run(list(make_feed(inputs).values()))
        described = {"nodes": program.nodes, "bytes": program.bytes, "version": program.version}
        return described | {"inputs": [asdict(entry) for entry in inputs]}, ()

    def memory_program(
        self, path: str, threads: int, inputs: list[dict[str, Any]], allowed: list[str] | None
    ) -> Answer:
        """What a torch program adds to the peak memory of this process, which must be fresh."""
        import ssn_prune.runtime.torch_programs  # noqa: F401 - torch's own memory does not count

        arrays = list(_feed(inputs).values())
        return peak_added(lambda: self._program(path, threads, allowed).run(arrays)), ()

    def _program(self, path: str, threads: int, allowed: list[str] | None) -> Any:
        content = trusted_content(Path(path), self.name, allowed)
        # Imported here because this process needs no torch for other files.
        import torch

        from ssn_prune.runtime.torch_programs import TorchProgram

        torch.set_num_threads(threads)
        return TorchProgram(content, self.name)

    def time(self, runs: int, warmup: int) -> Answer:
        """Time all files that were added."""
        return time_in_turns(self._runners, runs, warmup), ()

    def forget(self) -> Answer:
        """Close all files that were added."""
        self._runners.clear()
        return None, ()

    def memory(
        self, path: str, threads: int, inputs: list[dict[str, Any]], provider: str = CPU
    ) -> Answer:
        """What a file adds to the peak memory of this process, which must be fresh."""
        return added_memory(Path(path), self.name, threads, _feed(inputs), provider), ()

    def profile(
        self,
        path: str,
        threads: int,
        inputs: list[dict[str, Any]],
        runs: int,
        folder: str,
        provider: str = CPU,
    ) -> Answer:
        """Measure the milliseconds of each node of a file."""
        how = (threads, _feed(inputs), runs, Path(folder), provider)
        return profile_nodes(Path(path), self.name, *how), ()


def _feed(inputs: list[dict[str, Any]]) -> dict[str, np.ndarray]:
    return make_feed([Input(e["name"], e["dtype"], tuple(e["shape"])) for e in inputs])


def main() -> None:
    """Answer requests until the other process has gone."""
    answers = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)  # what native code prints must not mix with the answers
    parent, memory = int(sys.argv[2]), sys.argv[3]
    limit_this_process(parent, int(memory) if memory else None)
    worker = Worker()
    while True:
        try:
            request, arrays = receive(sys.stdin.buffer)
        except EOFError:
            return
        worker.name = request["name"]
        try:
            given = (arrays,) if arrays else ()
            content, found = getattr(worker, request["action"])(*given, **request["arguments"])
        except SsnPruneError as error:
            send(answers, {"error": _fields(error)})
        # An untrusted file can make onnx, ONNX Runtime and NumPy raise anything.
        except Exception as error:  # noqa: BLE001
            send(answers, {"error": _fields(runtime_error(worker.name, error))})
        else:
            send(answers, {"answer": content}, found)


def _fields(error: SsnPruneError) -> dict[str, str | None]:
    texts = {"problem": error.problem, "expected": error.expected}
    return {"code": error.code, **texts, "found": error.found, "hint": error.hint}
