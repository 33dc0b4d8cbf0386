"""The checks of a release beyond continuous integration, as a table with a row for each command."""

from __future__ import annotations

from dataclasses import dataclass

GRAPHS = 100_000
GRAPHS_A_PIECE = 5_000
SECONDS_A_PARSER = 600


@dataclass(frozen=True)
class Piece:
    """A command that fails when what it checks is wrong.

    Attributes:
        name: Its name in the table; unique.
        command: Words after ``python``, from the repository's root. ``{folder}`` is where results
            are kept.
        environment: Which dependencies: ``here``, ``floors`` (the oldest that ``pyproject.toml``
            allows) or ``newest``.
    """

    name: str
    command: tuple[str, ...]
    environment: str = "here"


def _fuzz(first: int) -> Piece:
    words = ("tests/fuzz/fuzz_run.py", "--count", str(GRAPHS_A_PIECE), "--seed", str(first))
    return Piece(f"random graphs from seed {first:,}", words)


def _parser(target: str) -> Piece:
    words = ("tests/hostile/guided_fuzzing.py", target, f"-max_total_time={SECONDS_A_PARSER}")
    return Piece(f"guided fuzzing, {target}", words)


def _sweep(library: str) -> Piece:
    words = ("release/sweep.py", library, "{folder}/sweep.jsonl")
    return Piece(f"every architecture, {library}", words)


TESTS = ("-m", "pytest", "-n", "2", "--dist", "loadfile", "--no-loadscope-reorder")

PIECES = (
    Piece("wheel", ("release/wheel.py",)),
    Piece("tests", TESTS),
    Piece("tests, oldest dependencies", TESTS, "floors"),
    Piece("tests, newest dependencies", TESTS, "newest"),
    *(_fuzz(first) for first in range(0, GRAPHS, GRAPHS_A_PIECE)),
    *(_parser(target) for target in ("pickle", "zip", "safetensors")),
    *(_sweep(library) for library in ("torchvision", "timm")),
    Piece("planted faults", ("tests/mutation/planted_bugs.py",)),
    Piece(
        "small networks in every runtime", ("benchmarks/runtimes.py", "--small", "--check", "62")
    ),
)
