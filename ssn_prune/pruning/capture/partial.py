"""Partial capture: the largest submodules of a network that cannot be captured whole.

Detection models and others whose code branches on data are run once as they are. Every submodule
that contains switchable layers is then captured with the inputs that it got in that run, from the
outermost inwards. No graph shows what is used outside of the captured parts, so the run also counts
the uses of each tensor. A tensor that is used more often than the captured graphs show is used
elsewhere, and nothing folds into it.
"""

from __future__ import annotations

import contextlib
from collections import Counter
from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils import _pytree as pytree
from torch.utils._python_dispatch import TorchDispatchMode

from ssn_prune.pruning.capture.fx_utils import CapturedProgram
from ssn_prune.pruning.capture.graph_reader import GraphRecords, read_program
from ssn_prune.pruning.capture.marked_model import Marker
from ssn_prune.pruning.capture.records import LayerCall, Surroundings
from ssn_prune.pruning.capture.suppress_output import suppress_tracer_output
from ssn_prune.pruning.capture.tensor_identity import named_tensors
from ssn_prune.surgery._shared_parameters import run_copy
from ssn_prune.surgery.nested import clone_tensors

UNCAPTURED = "code that torch.export cannot capture"
Arguments = tuple[tuple[Any, ...], dict[str, Any]]


def read_parts(
    records: GraphRecords,
    model: nn.Module,
    marked: nn.Module,
    inputs: tuple[Any, ...],
    memory: dict[int, int],
) -> tuple[str, ...]:
    """Capture the parts of a network and add what they show to the records, in place.

    Args:
        records: Empty.
        model: The network; not changed.
        marked: The network with markers.
        inputs: Inputs of one call.
        memory: Memory ids of ``marked``.

    Returns:
        Paths of the captured parts. If the network cannot even be run, there are none.
    """
    try:
        run = _run(model, marked, inputs, memory)
    except Exception:  # noqa: BLE001  # it is the user's code; a network that cannot run here (it
        return ()  # may need a GPU) can still be replaced layer by layer
    parts = tuple(_read(records, marked, "", run, memory, set()))
    for key, count in run.uses.items():
        records.uses[key] = max(records.uses[key], count)
    for path, module in marked.named_modules():
        if isinstance(module, Marker):
            seen = len(records.calls.get(module.layer_name, ()))
            for args, kwargs in run.calls.get(path, [])[seen:]:
                records.add_call(module.layer_name, _uncaptured_call(args, kwargs))
    return parts


class _Run:
    """What one run shows: the arguments of every call of a module, and uses by memory id."""

    def __init__(self) -> None:
        self.calls: dict[str, list[Arguments]] = {}
        self.uses: Counter[int] = Counter()


def _run(
    model: nn.Module, marked: nn.Module, inputs: tuple[Any, ...], memory: dict[int, int]
) -> _Run:
    ids = {name: memory[id(tensor)] for name, tensor in named_tensors(marked)}

    def recorded(probe: nn.Module) -> _Run:
        run = _Run()
        probe.eval()
        mine = {id(t): ids[name] for name, t in named_tensors(probe) if name in ids}
        counted = _UseCounter(mine, run.uses)
        with _recorded_calls(probe, run), counted, torch.no_grad():
            probe(*clone_tensors(inputs))
        return run

    return run_copy(model, recorded)


@contextlib.contextmanager
def _recorded_calls(probe: nn.Module, run: _Run) -> Iterator[None]:
    def recorder(path: str) -> Any:
        def hook(_module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
            run.calls.setdefault(path, []).append((args, kwargs))

        return hook

    handles = [
        module.register_forward_pre_hook(recorder(path), with_kwargs=True, prepend=True)
        for path, module in probe.named_modules()
    ]
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()


class _UseCounter(TorchDispatchMode):
    def __init__(self, ids: dict[int, int], uses: Counter[int]) -> None:
        super().__init__()  # type: ignore[no-untyped-call]  # untyped in torch
        self.ids, self.uses = ids, uses

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        del types
        for leaf in pytree.tree_leaves((args, kwargs)):
            if id(leaf) in self.ids:
                self.uses[self.ids[id(leaf)]] += 1
        return func(*args, **(kwargs or {}))


def _read(
    records: GraphRecords,
    marked: nn.Module,
    path: str,
    run: _Run,
    memory: dict[int, int],
    seen: set[int],
) -> Iterator[str]:
    """Capture the children of a module that cannot be captured, or else the children's children."""
    for name, child in marked.get_submodule(path).named_children():
        inner = f"{path}.{name}" if path else name
        layers = any(isinstance(module, Marker) for module in child.modules())
        if id(child) in seen or not layers or isinstance(child, Marker):
            continue
        seen.add(id(child))
        calls = run.calls.get(inner, [])
        programs = _programs(child, calls) if calls else None  # lists of modules are not called
        if programs is None:
            yield from _read(records, marked, inner, run, memory, seen)
            continue
        for program in programs:
            read_program(records, CapturedProgram(program, child, memory), marked)
        seen.update(map(id, child.modules()))
        yield inner


def _uncaptured_call(args: tuple[Any, ...], kwargs: dict[str, Any]) -> LayerCall:
    """A call of a layer from code that could not be captured."""
    x: Tensor = args[0] if args else kwargs["input"]
    return LayerCall(
        UNCAPTURED,
        None,
        x.shape[2:].numel(),
        x.dim(),
        consumer=UNCAPTURED,
        surroundings=Surroundings(tuple(x.shape)),
    )


def _programs(
    module: nn.Module, calls: list[Arguments]
) -> list[torch.export.ExportedProgram] | None:
    """One program per call; None if one cannot be captured. Calls that look alike share one."""
    known: dict[Any, torch.export.ExportedProgram] = {}
    programs = []
    for args, kwargs in calls:
        leaves, structure = pytree.tree_flatten((args, kwargs))
        looks = [(v.shape, v.dtype) if isinstance(v, Tensor) else repr(v) for v in leaves]
        key = (str(looks), str(structure))
        if key not in known:
            try:
                with suppress_tracer_output():
                    known[key] = torch.export.export(module, args, kwargs)
            except Exception:  # noqa: BLE001  # as for the whole network; its parts are tried next
                return None
        programs.append(known[key])
    return programs
