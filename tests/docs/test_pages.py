"""What README.md and docs/ show is run, as it stands there, in one folder a page."""

from __future__ import annotations

import os
import shutil
import sys
from pathlib import Path

import pytest
from page_blocks import PAGES, RUN, block_of, blocks, evaluate, names_used, page_name
from page_folder import run_commands, run_python, write_folder
from page_names import given
from page_network import NETWORKS
from sybil import Example

from ssn_prune.architectures import registry


def runs(page):
    return any(
        b.language in RUN and not b.markers.keys() & {"not run", "run by"} for b in blocks(page)
    )


@pytest.fixture(scope="module")
def prepared(tmp_path_factory):
    folder = tmp_path_factory.mktemp("prepared")
    write_folder(folder)
    return folder


@pytest.fixture(autouse=True)
def _known_network(monkeypatch):
    monkeypatch.setattr(registry, "NETWORKS", NETWORKS)


@pytest.fixture
def folder(prepared, tmp_path, monkeypatch):
    """A copy of the prepared files, which is the current folder and can be imported from."""
    shutil.copytree(prepared, tmp_path, symlinks=True, dirs_exist_ok=True)
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(tmp_path)
    before = set(sys.modules)
    yield tmp_path
    for name in set(sys.modules) - before:
        if Path(getattr(sys.modules[name], "__file__", None) or os.sep).is_relative_to(tmp_path):
            del sys.modules[name]


@pytest.mark.parametrize("page", [p for p in PAGES if runs(p)], ids=page_name)
def test_the_blocks_of_a_page_run_in_order(page, folder):
    def run(example: Example) -> None:
        block = block_of(example)
        if block.markers.keys() & {"not run", "run by"}:
            return
        if name := block.markers.get("file"):
            target = folder / name
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_text(block.text, encoding="utf-8")
        elif block.language == "python":
            wanted = {name.strip() for name in block.markers.get("given", "").split(",")} - {""}
            assert wanted <= names_used(block), block
            example.namespace.update({k: v for k, v in given().items() if k in wanted})
            run_python(example)
        elif block.language in RUN:
            run_commands(block, folder)

    evaluate(page, run, {"__name__": "__main__"})
