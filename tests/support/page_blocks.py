"""The code blocks of README.md and docs/, found by Sybil, and which of them to run.

Blocks in ``bash``, ``console`` and ``python`` are run, a page's in order, in one folder
(:mod:`page_folder`). An HTML comment above a block may say something else:

``<!-- not run: it needs a GPU -->``
    The reason why it is not run. Bash is parsed all the same, and its options are looked up.
``<!-- run by: tests/docs/test_extending_folds.py -->``
    A test of its own runs it.
``<!-- given: network, batches -->``
    Names of :mod:`page_names` that the block uses and that its page does not define.
``<!-- file: my_network.py -->``
    The block, in any language, is the content of a file, which later blocks use.
``<!-- exit: 4 -->``
    The exit status of a command that is meant to fail.

``console`` has commands after ``$`` and what they print, where ``...`` stands for anything.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from sybil import Example, Sybil
from sybil.parsers.markdown import CodeBlockParser
from sybil.typing import Evaluator

REPOSITORY = Path(__file__).parents[2]
DOCS = REPOSITORY / "docs"
GENERATED = (DOCS / "cli.md", DOCS / "errors.md")
PAGES = [REPOSITORY / "README.md", *sorted(set(DOCS.rglob("*.md")) - set(GENERATED))]
RUN = ("bash", "console", "python")
"""Languages that are run."""
CODE = ("c", "cpp", "html", "javascript", "js")
"""Languages that are not run: such blocks are files, or say why they are not run."""
DATA = ("csv", "ini", "json", "text", "toml", "yaml")
KINDS = ("not run", "run by", "given", "file", "exit")
_MARKER = re.compile(r"<!-- ([a-z ]+): ((?:(?!-->).)*?) -->\s*\Z", re.S)
_FENCE = re.compile(r"^[ \t]*```([^\n`]*)$", re.M)


@dataclass(frozen=True)
class Block:
    """A fenced block.

    Attributes:
        language: What follows the fence.
        text: What stands in it.
        markers: The comments above it, by their kind.
        place: Page and line.
    """

    language: str
    text: str
    markers: dict[str, str]
    place: str

    def __str__(self) -> str:
        return f"{self.place}:\n{self.text}"


def page_name(page: Path) -> str:
    """A page as the repository names it."""
    return page.relative_to(REPOSITORY).as_posix()


def languages(page: Path) -> list[str]:
    """The languages after the opening fences of a page, without directives."""
    found = _FENCE.findall(page.read_text(encoding="utf-8"))[::2]
    return [language.strip() for language in found if not language.startswith("{")]


def block_of(example: Example) -> Block:
    """The block that Sybil found."""
    text = example.document.text
    markers, above = {}, text[: example.region.start]
    while found := _MARKER.search(above):
        markers[found[1]] = " ".join(found[2].split())
        above = above[: found.start()]
    assert markers.keys() <= set(KINDS), f"{example.path}:{example.line}: {sorted(markers)}"
    language = _FENCE.match(text, example.region.start)[1].strip()
    place = f"{page_name(Path(example.path))}:{example.line}"
    return Block(language, example.parsed.strip("\n") + "\n", markers, place)


def evaluate(page: Path, evaluator: Evaluator, namespace: dict[str, object]) -> None:
    """Pass every block of a page to a function, in order.

    Args:
        page: A Markdown file.
        evaluator: Called with Sybil's example.
        namespace: What the Python blocks share.
    """
    parsers = [CodeBlockParser(language, evaluator) for language in (*RUN, *CODE, *DATA)]
    document = Sybil(parsers=parsers).parse(page)
    document.namespace.update(namespace)
    for example in document.examples():
        example.evaluate()


def blocks(page: Path) -> list[Block]:
    """The blocks of a page."""
    found: list[Block] = []
    evaluate(page, lambda example: found.append(block_of(example)), {})
    return found


def commands(block: Block) -> list[str]:
    """The lines of a block of commands: continued ones joined, without comments."""
    text = block.text
    if block.language == "console":
        text = "".join(f"{command}\n" for command, _ in prompts(block))
    joined = re.sub(r"\\\n\s*", " ", text)
    lines = (re.sub(r"(^|\s)#.*", "", line).strip() for line in joined.splitlines())
    return [line for line in lines if line]


def prompts(block: Block) -> list[tuple[str, str]]:
    """The commands of a console block, each with its output."""
    parts = re.split(r"^\$ ", block.text, flags=re.M)[1:]
    split = (part.partition("\n") for part in parts)
    return [(command, printed) for command, _, printed in split]


def names_used(block: Block) -> set[str]:
    """The names that a Python block reads."""
    nodes = ast.walk(ast.parse(block.text))
    return {
        node.id for node in nodes if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Load)
    }


def marked(kind: str) -> Iterator[tuple[str, str]]:
    """The pages and texts of all markers of a kind."""
    for page in PAGES:
        for block in blocks(page):
            if kind in block.markers:
                yield page_name(page), block.markers[kind]
