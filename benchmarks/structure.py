"""The shape of the package: its size, and the way from ``convert`` to the written file.

    python benchmarks/structure.py [CHECKOUT]

Static figures come from the sources: lines and files, the largest file and function, the modules
that import themselves by way of others (imports under TYPE_CHECKING do not count), the names in
``ssn_prune.__all__``.

The others come from one traced ``ssn_prune.convert`` of a small network, from the call until the
file is there. A *room* is a folder or file at the top of the package. Files that import nothing of
the package except other such files (errors, normalizer, ...) are vocabulary and are left out.

* *modules entered*: modules with a function that was called.
* *steps*: calls by the module of ``convert`` into a room; calls in a row into one room are one.
* *climbs*: steps into a room that an earlier step had entered and left.
* *back calls*: pairs of modules in two rooms, the second called by the first and in a room that was
  entered before the first one's. Calls by the module of ``convert`` are counted above, calls by
  layers and by torch (hooks) are none of these.
"""

from __future__ import annotations

import argparse
import ast
import contextlib
import itertools
import sys
import tempfile
import threading
from pathlib import Path
from types import FrameType
from typing import Any

LAYERS = ("nn", "layers", "math")


def imports_of(path: Path, modules: dict[str, Path]) -> set[str]:
    """Modules of the package that a file imports when it runs."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    found = set()
    for node in list(ast.walk(tree)):
        if isinstance(node, ast.If) and getattr(node.test, "id", "") == "TYPE_CHECKING":
            node.body = []
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        if isinstance(node, ast.ImportFrom) and node.module:
            found |= {node.module, *(f"{node.module}.{alias.name}" for alias in node.names)}
    return found & modules.keys()


def circular(graph: dict[str, set[str]]) -> list[str]:
    """Modules that reach themselves."""
    reached = {name: set(found) for name, found in graph.items()}
    for middle, name in itertools.product(graph, graph):
        if middle in reached[name]:
            reached[name] |= reached[middle]
    return [name for name in graph if name in reached[name]]


def functions(path: Path) -> list[tuple[int, str]]:
    """Lines and name of every function in a file."""
    kinds = (ast.FunctionDef, ast.AsyncFunctionDef)
    nodes = [n for n in ast.walk(ast.parse(path.read_text("utf-8"))) if isinstance(n, kinds)]
    return [((n.end_lineno or 0) - n.lineno + 1, f"{path.name}::{n.name}") for n in nodes]


def calls_of_a_conversion(modules: dict[str, Path]) -> list[tuple[str, str]]:
    """The calls between modules of the package during one conversion, caller first, in order."""
    import torch
    from wide_network import wide_network

    import ssn_prune

    by_file = {str(path): name for name, path in modules.items()}
    calls: list[tuple[str, str]] = []

    def note(frame: FrameType, event: str, _: Any) -> None:
        # A generator that goes on is not called: its line is not the first one then.
        if event != "call" or frame.f_lineno != frame.f_code.co_firstlineno:
            return
        callee, outer = by_file.get(frame.f_code.co_filename), frame.f_back
        while callee and outer and outer.f_code.co_filename == contextlib.__file__:
            outer = outer.f_back
        if callee:
            calls.append((by_file.get(outer.f_code.co_filename, "") if outer else "", callee))

    with tempfile.TemporaryDirectory() as folder:
        source, target = Path(folder) / "net.pth", Path(folder) / "net.onnx"
        torch.save({"state_dict": wide_network(0.1).state_dict()}, source)
        arguments = {"arch": "wide_network:WideNetwork", "arch_args": {"width": 16}}
        ssn_prune.convert(ssn_prune.load_checkpoint(source, **arguments), target)  # imports all
        loaded = ssn_prune.load_checkpoint(source, **arguments)
        threading.setprofile(note)
        sys.setprofile(note)
        try:
            ssn_prune.convert(loaded, target, force=True)
        finally:
            sys.setprofile(None)
            threading.setprofile(None)
    return calls


def walk(calls: list[tuple[str, str]], graph: dict[str, set[str]]) -> dict[str, object]:
    """What the docstring says of the traced conversion."""
    rooms = {name: name.split(".")[1] if "." in name else "" for name in graph}
    folders = {room for name, room in rooms.items() if name.count(".") > 1}
    needs = {rooms[name]: {rooms[other] for other in graph[name]} for name in graph}
    files = needs.keys() - folders
    vocabulary = {""}
    while more := {room for room in files if needs[room] <= vocabulary} - vocabulary:
        vocabulary |= more
    conductor = "ssn_prune.conversion"
    calls = [(a, b) for a, b in calls if rooms[b] not in vocabulary]
    order = list(dict.fromkeys(rooms[callee] for _, callee in calls))
    steps = [rooms[b] for a, b in calls if a == conductor and b != conductor]
    steps = [room for room, _ in itertools.groupby(steps)]
    back = {
        (a, b)
        for a, b in calls
        if a and a != conductor and rooms[a] in order and not {rooms[a], rooms[b]} & set(LAYERS)
        if order.index(rooms[b]) < order.index(rooms[a])
    }
    return {
        "modules entered": len({callee for _, callee in calls}),
        "steps": " ".join(steps),
        "climbs": len(steps) - len(set(steps)),
        "back calls": len(back),
        "": "\n".join(f"    {a} -> {b}" for a, b in sorted(back)),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("checkout", type=Path, nargs="?", default=Path(__file__).parents[1])
    checkout = parser.parse_args().checkout.resolve()
    sys.path.insert(0, str(checkout))
    sources = sorted((checkout / "ssn_prune").rglob("*.py"))
    modules = {
        ".".join(path.relative_to(checkout).with_suffix("").parts).removesuffix(".__init__"): path
        for path in sources
    }
    graph = {name: imports_of(path, modules) - {name} for name, path in modules.items()}
    lines = {path: len(path.read_text("utf-8").splitlines()) for path in sources}
    largest = max(sources, key=lines.__getitem__)
    found: dict[str, object] = {
        "files": len(sources),
        "lines": sum(lines.values()),
        "largest file": f"{lines[largest]} {largest.relative_to(checkout)}",
        "largest function": "{} {}".format(*max(itertools.chain(*map(functions, sources)))),
        "modules in import circles": len(circular(graph)),
    }
    found |= walk(calls_of_a_conversion(modules), graph)
    import ssn_prune

    assert Path(ssn_prune.__file__).parents[1] == checkout
    found["public names"] = len(ssn_prune.__all__)
    for name, value in found.items():
        print(f"{name}: {value}" if name else value)


if __name__ == "__main__":
    main()
