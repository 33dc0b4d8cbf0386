"""What README.md and docs/ do not run is known: every marker with its reason, every option."""

from __future__ import annotations

import re
import subprocess

import pytest
from page_blocks import (
    CODE,
    DATA,
    PAGES,
    REPOSITORY,
    RUN,
    Block,
    blocks,
    commands,
    languages,
    marked,
    page_name,
)
from page_names import given
from typer.main import get_command

from ssn_prune.cli.app import app

COMMANDS = get_command(app).commands
# Of mnnconvert and of a benchmark, in the prose of the pages.
FOREIGN = {"--keepInputFormat", "--small"}
NOT_RUN = {
    ("README.md", "a search is run above"),
    ("README.md", "it installs the package and runs these tests"),
    ("README.md", "it installs the package; the tests of the command run the demonstration"),
    ("docs/howto/batch.md", "it needs Slurm"),
    ("docs/howto/batch.md", "README.md has the same command, which is run"),
    (
        "docs/howto/browser.md",
        "it downloads a package; benchmarks/browser.py runs the page in Chromium",
    ),
    ("docs/howto/deploy.md", "it needs ONNX Runtime's C++ library"),
    ("docs/howto/other-runtimes.md", "it needs TensorRT and a GPU"),
    ("docs/howto/own-code.md", "it needs a trained checkpoint of that network"),
    ("docs/howto/reference-checkpoints.md", "it needs your images"),
    (
        "docs/howto/several-processes.md",
        "four processes that search; tests/cli/test_search.py runs two",
    ),
    ("docs/index.md", "it installs the package; the tests of the command run the demonstration"),
    ("docs/quickstart.md", "it installs the package"),
    ("docs/quickstart.md", "it measures for half a minute; tests of the command run it"),
    ("docs/quickstart.md", "it searches for a minute; tests of the command run it"),
    ("docs/quickstart.md", "it trains for a minute; tests of the command run it"),
    ("docs/reliability.md", "the first is part of these tests, the second takes an hour"),
    ("docs/search.md", "four processes that search; tests/cli/test_search.py runs two"),
    (
        "docs/search.md",
        "README has a search that is run; on a busy machine none is within the budget",
    ),
    (
        "docs/targets.md",
        "ncnn is not installed for the tests; benchmarks/runtimes.py runs files in it",
    ),
    ("docs/torch_files.md", "the tests install neither ExecuTorch nor LiteRT"),
}
ALL = [block for page in PAGES for block in blocks(page)]


def test_what_is_not_run_is_listed_here():
    assert set(marked("not run")) == NOT_RUN


def test_a_test_that_runs_a_block_exists_and_names_the_page():
    for page, test in marked("run by"):
        name = page.rpartition("/")[2]
        assert name in (REPOSITORY / test).read_text(encoding="utf-8"), test


def test_names_that_are_given_exist():
    for page, names in marked("given"):
        assert {name.strip() for name in names.split(",")} <= given().keys(), page


@pytest.mark.parametrize("page", PAGES, ids=page_name)
def test_every_block_has_a_language_and_code_that_is_not_run_says_so(page):
    assert set(languages(page)) <= {*RUN, *CODE, *DATA}
    assert not re.search(r"^\n {4}(\$|ssn-prune|pip|python|import|>>>) ?", page.read_text(), re.M)
    for block in blocks(page):
        if block.language in CODE:
            assert block.markers.keys() & {"not run", "run by", "file"}, str(block)


@pytest.mark.parametrize("block", [b for b in ALL if b.language == "bash"], ids=lambda b: b.place)
def test_bash_is_bash(block: Block):
    done = subprocess.run(
        ["bash", "-n"], input=block.text, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, f"{block}{done.stderr}"


def options(command: str) -> set[str]:
    return {name for p in COMMANDS[command].params for name in (*p.opts, *p.secondary_opts)}


def test_links_of_readme_lead_to_files():
    text = (REPOSITORY / "README.md").read_text(encoding="utf-8")
    targets = {target.partition("#")[0] for target in re.findall(r"\]\(([^)\s]+)\)", text)}
    local = {target for target in targets if "://" not in target}
    assert len(local) > 10
    assert not [target for target in local if not (REPOSITORY / target).is_file()]


def test_commands_and_options_of_blocks_exist():
    for block in ALL:
        if block.language not in ("bash", "console", "text"):
            continue
        for line in commands(block):
            # In a text the lines after a command go on with its options.
            for call in re.findall(r"(?:ssn-prune|-m ssn_prune) +([a-z].*?)(?=ssn-prune|$)", line):
                name, _, rest = call.partition(" ")
                assert name in COMMANDS, f"{block}{name}"
                given_options = set(re.findall(r"(?<![\w-])--?[a-zA-Z][\w-]*", rest))
                known = options(name) | {"-h", "--help"}
                assert given_options <= known, f"{block}{given_options - known}"


def test_options_in_prose_exist():
    known = {"--help", "--version"}.union(*map(options, COMMANDS))
    for script in (REPOSITORY / "examples").glob("*.py"):
        known |= set(re.findall(r'"(--[a-z][a-z-]*)"', script.read_text(encoding="utf-8")))
    for page in PAGES:
        prose = re.sub(r"^```.*?^```", "", page.read_text(encoding="utf-8"), flags=re.M | re.S)
        for code in re.findall(r"`([^`]+)`", prose):
            if code.startswith(("-", "ssn-prune")):
                found = set(re.findall(r"(?<![\w-])--[a-zA-Z][\w-]*", code))
                assert found <= known | FOREIGN, f"{page_name(page)}: {code}"


def test_a_wrong_option_would_be_found():
    assert "--no-such-option" not in options("convert")
    assert {"-o", "--output", "--target"} <= options("convert")
