"""Turn networks trained with Sparse Switchable Normalization into lean, verified ONNX models.

The public names are those of ``__init__.pyi``. Each is imported on first use, so that importing the
package and the help of the command line do not wait for torch.
"""

# Nothing is imported here, not even the standard library: until ssn_prune.__main__ runs,
# `python -m ssn_prune` looks for modules in the current folder first, which may hold an ast.py.
TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any


def _modules_of_public_names() -> "dict[str, str]":
    import ast
    from pathlib import Path

    stub = ast.parse(Path(__file__).with_name("__init__.pyi").read_text(encoding="utf-8"))
    imports = [node for node in stub.body if isinstance(node, ast.ImportFrom)]
    return {alias.name: f"{__name__}.{node.module}" for node in imports for alias in node.names}


def __getattr__(name: str) -> "Any":
    import importlib

    modules = _modules_of_public_names()
    if name == "__all__":
        value: Any = sorted(modules)
    elif name in modules:
        value = getattr(importlib.import_module(modules[name]), name)
    else:
        from ssn_prune._renamed import renamed

        return renamed(__name__, name)
    globals()[name] = value
    return value


def __dir__() -> "list[str]":
    return sorted(_modules_of_public_names())
