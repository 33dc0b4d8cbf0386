"""Every public name has its place in docs/api, and an example that is run."""

from __future__ import annotations

import ast
import re

from error_catalogue import FAILURES
from page_blocks import DOCS, PAGES, blocks

import ssn_prune

DIRECTIVE = re.compile(r"^\.\. auto(?:class|function|exception):: ssn_prune\.(\w+)$", re.M)


def documented() -> list[str]:
    pages = (DOCS / "api").glob("*.md")
    return [name for page in pages for name in DIRECTIVE.findall(page.read_text(encoding="utf-8"))]


def exemplified() -> set[str]:
    """Names that Python blocks which are run take from the package."""
    found = set()
    for page in PAGES:
        for block in blocks(page):
            if block.language == "python" and "not run" not in block.markers:
                for node in ast.walk(ast.parse(block.text)):
                    if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name):
                        found |= {node.attr} if node.value.id == "ssn_prune" else set()
    return found


def test_every_public_name_is_documented_once():
    assert sorted([*documented(), "__version__"]) == ssn_prune.__all__


def test_every_public_name_has_an_example_that_is_run():
    missing = set(ssn_prune.__all__) - exemplified() - {"__version__"}
    provoked = {case.code for case in FAILURES}
    errors = {name for name in missing if getattr(getattr(ssn_prune, name), "code", None)}
    assert missing == errors
    assert {getattr(ssn_prune, name).code for name in errors} <= provoked
