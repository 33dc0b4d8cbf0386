"""Coverage-guided fuzzing of each part that reads bytes of a file.

    python tests/hostile/guided_fuzzing.py pickle|zip|safetensors|planted [OPTIONS OF LIBFUZZER]

such as ``-max_total_time=600``. Anything but a result or a typed error ends it with a traceback and
leaves the input in a file ``crash-...``, as does an input that takes 5 seconds or 1 GB. It starts
from the hostile files, except for the large ones.
"""

from __future__ import annotations

import os
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

ROOT = Path(__file__).parents[2]
sys.path[:0] = [str(ROOT), str(Path(__file__).parent)]

import atheris  # noqa: E402

with atheris.instrument_imports(include=["ssn_prune.checkpoint"]):
    from ssn_prune.checkpoint.input_file import open_input
    from ssn_prune.checkpoint.safetensors import read_safetensors
    from ssn_prune.checkpoint.stored import Storage
    from ssn_prune.checkpoint.unpickling import PickleError, unpickle
    from ssn_prune.checkpoint.zip_directory import read_directory

from ssn_prune.errors import CheckpointError  # noqa: E402

LONGEST = 4096
LIMITS = ("-timeout=5", "-rss_limit_mb=1024", f"-max_len={LONGEST}", "-print_final_stats=1")


class Zeros(Storage):
    """Stands for every storage that a pickle asks for."""

    size = 1 << 20

    def read(self, start: int, stop: int) -> bytes:
        """Zeros."""
        return bytes(stop - start)

    def fill(self, buffer: memoryview) -> None:
        """Zeros are there already."""


ZEROS = Zeros()


def read_pickle(data: bytes) -> None:
    """Run a pickle."""
    try:
        unpickle(data, lambda _identity: (ZEROS, "float32"))
    except PickleError:
        return


def fall_over(data: bytes) -> None:
    """A planted fault, which the fuzzer must find."""
    if data[:2] == b"\x80\x05" and data[2:3] == b"~":
        raise ValueError("planted")


def in_a_file(read: Callable[[object], object]) -> Callable[[bytes], None]:
    """Turn a reader of open files into a reader of bytes."""
    descriptor, name = tempfile.mkstemp()
    path = Path(name)

    def run(data: bytes) -> None:
        os.ftruncate(descriptor, 0)
        os.pwrite(descriptor, data, 0)
        try:
            with open_input(path) as file:
                read(file)
        except CheckpointError:
            return

    return run


def beginnings(target: str) -> Iterator[bytes]:
    """Inputs to start from."""
    from hostile_corpus import CASES
    from hostile_structures import PROGRAMS
    from pickle_assembly import program
    from sound_content import checkpoint

    if target in ("pickle", "planted"):
        yield program(checkpoint())
        yield from (whole for _, whole in PROGRAMS.values())
        yield from _values()
        return
    for case in CASES:
        if case.name.startswith(target):
            yield case.content()


def _values() -> Iterator[bytes]:
    """Each hostile value by itself."""
    import hostile_calls
    import hostile_code
    import hostile_structures
    import hostile_tensors
    from pickle_assembly import program

    for table in (
        *(hostile_calls.LIVE, hostile_code.ODD_NAMES, hostile_structures.VALUES),
        *(hostile_structures.STACK_ERRORS, hostile_tensors.WRONG_VALUES),
    ):
        for value in table.values():
            yield program(value, 4)


def main() -> None:
    """Fuzz until libFuzzer's options say to stop."""
    target, *options = sys.argv[1:]
    run = {
        "pickle": lambda: read_pickle,
        "planted": lambda: atheris.instrument_func(fall_over),
        "zip": lambda: in_a_file(read_directory),
        "safetensors": lambda: in_a_file(read_safetensors),
    }[target]()
    corpus = Path(tempfile.mkdtemp())
    for index, data in enumerate(beginnings(target)):
        if len(data) <= LONGEST:
            (corpus / f"{index:04}").write_bytes(data)
    atheris.Setup([sys.argv[0], *LIMITS, *options, str(corpus)], run)
    atheris.Fuzz()


if __name__ == "__main__":
    main()
