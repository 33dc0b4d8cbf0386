"""The structure of the package: its size, and the path from ``convert`` to the written file.

    python benchmarks/structure.py [CHECKOUT]

Imports under TYPE_CHECKING do not count as circles. The path is that of one traced
``ssn_prune.convert`` of a small network. A *room* is a folder or file at the top level of the
package. Files that import no room, or only such files (errors, normalizer, ...), are left out.

* *entered*: modules with a function that was called.
* *steps*: calls by ``conversion/`` into a room; consecutive calls into one room count once.
* *climbs*: steps into a room that an earlier step had entered and left.
* *back calls*: pairs of modules in two rooms where the first calls the second, whose room was
  entered earlier. Calls by ``conversion/`` are steps instead; calls by layers and by torch (hooks)
  are neither.
"""

import argparse
import ast
import contextlib
import itertools
import sys
import tempfile
import threading
from pathlib import Path

LAYERS = {"nn", "layers", "math"}
Graph = dict[str, set[str]]


def imports_of(path: Path, modules: dict[str, Path]) -> set[str]:
    """Modules of the package that a file imports when it runs."""
    tree = ast.parse(path.read_text("utf-8"))
    for node in list(ast.walk(tree)):
        if isinstance(node, ast.If) and getattr(node.test, "id", "") == "TYPE_CHECKING":
            node.body = []
    found = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        if isinstance(node, ast.ImportFrom) and node.module:
            found |= {node.module, *(f"{node.module}.{alias.name}" for alias in node.names)}
    return found & modules.keys()


def circular(graph: Graph) -> list[str]:
    """Modules that import themselves through others."""
    reached = {name: set(found) for name, found in graph.items()}
    for middle, name in itertools.product(graph, graph):
        reached[name] |= reached[middle] if middle in reached[name] else set()
    return [name for name in graph if name in reached[name]]


def traced_calls(modules: dict[str, Path]) -> list[tuple[str, str]]:
    """Calls of a conversion: the calling module ("" outside of the package) and the called one."""
    import torch
    from wide_network import wide_network

    import ssn_prune

    by_file, calls = {str(path): name for name, path in modules.items()}, []

    def note(frame, event, _):
        # A generator that resumes is not a call: its line is then not the first one.
        if event == "call" and frame.f_lineno == frame.f_code.co_firstlineno:
            outer = frame.f_back
            while outer and outer.f_code.co_filename == contextlib.__file__:
                outer = outer.f_back
            if callee := by_file.get(frame.f_code.co_filename):
                calls.append((by_file.get(outer.f_code.co_filename, "") if outer else "", callee))

    with tempfile.TemporaryDirectory() as folder:
        source, target = Path(folder, "net.pth"), Path(folder, "net.onnx")
        torch.save({"state_dict": wide_network(0.1).state_dict()}, source)
        for trace in (None, note):  # the first conversion imports everything
            loaded = ssn_prune.load_checkpoint(
                source, arch="wide_network:WideNetwork", arch_args={"width": 16}
            )
            threading.setprofile(trace)
            sys.setprofile(trace)
            ssn_prune.convert(loaded, target, force=True)
            sys.setprofile(None)
    return calls


def walk(calls: list[tuple[str, str]], graph: Graph) -> dict[str, object]:
    """The figures that the module's docstring explains, for the traced conversion."""
    rooms = {name: name.split(".")[1] if "." in name else "" for name in graph}
    needs = {rooms[name]: {rooms[other] for other in graph[name]} for name in graph}
    files = needs.keys() - {room for name, room in rooms.items() if name.count(".") > 1}
    vocabulary = {""}
    while more := {room for room in files if needs[room] <= vocabulary} - vocabulary:
        vocabulary |= more
    calls = [(a, b) for a, b in calls if rooms[b] not in vocabulary]
    order = list(dict.fromkeys(rooms[callee] for _, callee in calls if callee))
    moves = [(a, b) for a, b in calls if rooms.get(a) in order and rooms[a] != rooms[b]]
    steps = [rooms[b] for a, b in moves if rooms[a] == "conversion"]
    steps = [room for room, _ in itertools.groupby(steps)]
    excluded = LAYERS | {"conversion"}
    back = {(a, b) for a, b in moves if order.index(rooms[b]) < order.index(rooms[a])}
    back = sorted((a, b) for a, b in back if not {rooms[a], rooms[b]} & excluded)
    entered = len({callee for _, callee in calls})
    counts = {"entered": entered, "steps": " ".join(steps), "climbs": len(steps) - len(set(steps))}
    return counts | {"back calls": len(back)} | {f"    {a} -> {b}": "" for a, b in back}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("checkout", type=Path, nargs="?", default=Path(__file__).parents[1])
    root = parser.parse_args().checkout.resolve()
    sys.path.insert(0, str(root))
    sources = sorted((root / "ssn_prune").rglob("*.py"))
    names = [".".join(path.relative_to(root).with_suffix("").parts) for path in sources]
    modules = {n.removesuffix(".__init__"): path for n, path in zip(names, sources, strict=True)}
    graph = {name: imports_of(path, modules) - {name} for name, path in modules.items()}
    lines = {str(p.relative_to(root)): len(p.read_text("utf-8").splitlines()) for p in sources}
    nodes = [n for path in sources for n in ast.walk(ast.parse(path.read_text("utf-8")))]
    defined = [n for n in nodes if isinstance(n, ast.FunctionDef)]
    longest = max(defined, key=lambda n: n.end_lineno - n.lineno)
    found = {"files": len(sources), "lines": sum(lines.values())}
    found["largest file"] = max(lines.items(), key=lambda item: item[1])
    found["largest function"] = longest.name, longest.end_lineno - longest.lineno + 1
    found["modules in import circles"] = len(circular(graph))
    found |= walk(traced_calls(modules), graph)
    import ssn_prune

    found["public names"] = len(ssn_prune.__all__)
    print(Path(ssn_prune.__file__).parent, *(f"{k}: {v}" for k, v in found.items()), sep="\n")


if __name__ == "__main__":
    main()
