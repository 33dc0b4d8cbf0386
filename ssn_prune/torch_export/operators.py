"""The operators that a program may contain: those that every installation of torch can load.

These are torch's own (``aten``), those of torchvision, and Python's arithmetic on sizes. Regions
such as ``no_grad`` and autocast are higher-order operators with a graph of their own. torch's
decomposition with an empty table inlines these graphs.
"""

from __future__ import annotations

from collections import Counter
from typing import Any

import torch
from torch._ops import HigherOrderOperator, OpOverload

from ssn_prune.errors import ExportError, first_line
from ssn_prune.pruning.capture.suppress_output import suppress_tracer_output
from ssn_prune.text import listed

_LIBRARIES = ("torchvision",)
_ARITHMETIC = ("_operator", "math", "torch")
"""Modules of the functions that torch.export calls on sizes, such as ``sym_max``."""


def portable_program(program: torch.export.ExportedProgram) -> torch.export.ExportedProgram:
    """A program that loads wherever torch, and the libraries that it names, are installed.

    Args:
        program: The captured program.

    Returns:
        The program without regions.

    Raises:
        ExportError: It calls other operators, or has a region that cannot be inlined.
    """
    calls = _calls(program)
    if any(isinstance(target, HigherOrderOperator) for target in calls):
        program = _without_regions(program)
        calls = _calls(program)
    foreign = [operator_name(target) for target in calls if not _is_known(target)]
    if foreign:
        raise ExportError(
            "the pruned network calls operators that other installations of torch may lack",
            expected="operators of torch (aten) or torchvision, and arithmetic on sizes",
            found=listed(sorted(set(foreign)), 4),
            hint="write these parts of the network with operators of torch",
        )
    return program


def operator_counts(program: torch.export.ExportedProgram) -> dict[str, int]:
    """Calls by operator, with the namespace and the overload."""
    return dict(sorted(Counter(map(operator_name, _calls(program))).items()))


def libraries_of(program: torch.export.ExportedProgram) -> tuple[str, ...]:
    """The libraries to import, besides torch, before the program can be loaded."""
    used = {target.namespace for target in _calls(program) if isinstance(target, OpOverload)}
    return tuple(name for name in _LIBRARIES if name in used)


def operator_name(target: Any) -> str:
    """The name of an operator, such as ``aten.conv2d.default`` or ``floordiv``."""
    if isinstance(target, OpOverload):
        return str(target)
    return str(getattr(target, "__name__", target))


def _calls(program: torch.export.ExportedProgram) -> list[Any]:
    return [node.target for node in program.graph.nodes if node.op == "call_function"]


def _is_known(target: Any) -> bool:
    if isinstance(target, OpOverload):
        return target.namespace in ("aten", *_LIBRARIES)
    return getattr(target, "__module__", None) in _ARITHMETIC


def _without_regions(program: torch.export.ExportedProgram) -> torch.export.ExportedProgram:
    try:
        with suppress_tracer_output():
            found: torch.export.ExportedProgram = program.run_decompositions({})
            return found
    # The decomposition runs the graph, which raises whatever its operators raise.
    except Exception as error:
        raise ExportError(
            "the pruned network has regions that a torch program cannot have",
            expected="regions without effect at inference, such as no_grad",
            found=f"{type(error).__name__}: {first_line(error)}",
            hint="remove the region that is named from the network's code",
        ) from error
