"""The layout is the architecture: imports point in the direction of the data flow."""

from __future__ import annotations

import ast
import importlib
import inspect
import pkgutil
from dataclasses import fields, is_dataclass
from pathlib import Path
from types import ModuleType

import pytest

import ssn_prune
from ssn_prune import environment, progress, report
from ssn_prune.accuracy import results as accuracy_results
from ssn_prune.images import preprocessing
from ssn_prune.onnx_export import results as onnx_results
from ssn_prune.pruned_weights import results as weights_results
from ssn_prune.pruning import results as pruning_results
from ssn_prune.searching import results as searching_results
from ssn_prune.surgery import results as surgery_results
from ssn_prune.torch_export import results as torch_results
from ssn_prune.verification import results as verification_results

PACKAGE = Path(ssn_prune.__file__).parent
SOURCES = sorted(PACKAGE.rglob("*.py"))
# Reading order; a stage may import from itself and from earlier ones only.
ORDER = [
    (
        "_version",
        "_renamed",
        "errors",
        "normalizer",
        "environment",
        "installation",
        "exported_file",
        "files",
        "json_values",
        "progress",
        "text",
        "file_locks",
        "process_lock",
        "thread_streams",
    ),
    ("nn",),
    ("surgery", "checkpoint", "architectures", "selection"),
    ("example_inputs",),
    ("images",),
    ("accuracy",),
    ("costs.records",),
    ("training",),
    ("pruning",),
    ("pruned_weights",),
    ("runtime",),
    ("onnx_export",),
    ("torch_export",),
    ("verification", "export_formats"),
    ("report",),
    ("conversion",),
    ("benchmarking", "demo"),
    ("costs",),
    ("searching",),
    ("reporting", "batch"),
    ("console",),
    ("completion",),
    ("cli", "__main__"),
]
STAGE = {name: index for index, names in enumerate(ORDER) for name in names}


def stage_of(path: Path) -> str:
    return stage_named(".".join(path.relative_to(PACKAGE).with_suffix("").parts))


def stage_named(module: str) -> str:
    """The entry of ORDER that a module below the package belongs to, a file before its folder."""
    return module if module in STAGE else module.partition(".")[0]


def imports(path: Path, *, at_run_time: bool = True) -> list[str]:
    """Modules that a file imports; those under TYPE_CHECKING do not count."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    skipped: set[ast.AST] = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.If) and getattr(node.test, "id", "") == "TYPE_CHECKING":
            skipped |= {inner for inner in ast.walk(node) if at_run_time}
    found = []
    for node in ast.walk(tree):
        if node not in skipped and isinstance(node, ast.Import):
            found += [alias.name for alias in node.names]
        if node not in skipped and isinstance(node, ast.ImportFrom) and node.module:
            found.append(node.module)
    return found


@pytest.mark.parametrize("path", SOURCES, ids=lambda p: str(p.relative_to(PACKAGE)))
def test_imports_follow_the_data_flow(path: Path) -> None:
    own = stage_of(path)
    if own == "__init__":
        return
    for module in imports(path):
        if module.startswith("ssn_prune."):
            other = stage_named(module.removeprefix("ssn_prune."))
            assert STAGE[other] <= STAGE[own], f"{path.name} imports {module}"


def test_only_the_command_line_imports_typer_and_only_it_and_the_console_rich() -> None:
    for path in SOURCES:
        roots = {module.split(".")[0] for module in imports(path)}
        assert "typer" not in roots or stage_of(path) == "cli", path
        assert "rich" not in roots or stage_of(path) in ("cli", "console"), path


def test_only_the_layers_import_their_private_algebra() -> None:
    private = "ssn_prune.nn._algebra"
    for path in SOURCES:
        for module in imports(path):
            if module.startswith(private) and path.parent.name != "_algebra":
                assert module == private, path
                assert stage_of(path) == "nn", path


def test_mathematics_does_no_input_or_output() -> None:
    allowed = {"__future__", "abc", "collections", "dataclasses", "math", "typing"}
    allowed |= {"numpy", "torch", "triton", "ssn_prune", "struct", "warnings", "enum", "functools"}
    # Whether Triton is there, and whether its interpreter is asked for.
    of_file = {"devices.py": {"os", "importlib"}}
    for path in (PACKAGE / "nn").rglob("*.py"):
        found = {module.split(".")[0] for module in imports(path)}
        assert found <= allowed | of_file.get(path.name, set()), path
        assert "open(" not in path.read_text(encoding="utf-8")


def test_only_the_console_prints() -> None:
    for path in SOURCES:
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Call) and getattr(node.func, "id", "") == "print":
                assert stage_of(path) == "console", path


def test_every_public_name_has_a_docstring() -> None:
    for name in ssn_prune.__all__:
        value = getattr(ssn_prune, name)
        assert isinstance(value, str) or inspect.getdoc(value), name


def test_every_module_can_be_imported_alone() -> None:
    for module in pkgutil.walk_packages(ssn_prune.__path__, "ssn_prune."):
        if not module.name.endswith("__main__"):
            importlib.import_module(module.name)


def require_fields(stage: ModuleType, text: str) -> None:
    """Every field of a module's records stands in a text."""
    for name, record in vars(stage).items():
        if is_dataclass(record) and record.__module__ == stage.__name__:
            for field in fields(record):
                assert f"`{field.name}`" in text, f"{name}.{field.name}"


def test_the_report_is_documented_field_by_field() -> None:
    docs = PACKAGE.parent / "docs"
    text = (docs / "report.md").read_text(encoding="utf-8")
    stages = (surgery_results, pruning_results, onnx_results, torch_results, verification_results)
    stages += (preprocessing, accuracy_results)
    for stage in (report, *stages, environment, progress):
        require_fields(stage, text)
    require_fields(searching_results, (docs / "search.md").read_text(encoding="utf-8"))
    for field in fields(weights_results.WeightsStats):
        assert f"`{field.name}`" in text, field.name
    assert f"version {report.SCHEMA_VERSION}" in text
