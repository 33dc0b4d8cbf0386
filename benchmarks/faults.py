"""What becomes of a target when writing it fails, or when the process is ended during it.

    python benchmarks/faults.py [--kills 30] [--markdown FILE]

Single calls are those of one replacement of a model with a weights file
(``tests/support/write_faults.py``); whole commands convert the network of the demonstration. This
takes about seven minutes of CPU time. Two rows need Linux: one needs strace, the other the right to
mount.
"""

from __future__ import annotations

import argparse
import functools
import os
import random
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

from fault_calls import (
    ENVIRONMENT,
    STATES,
    Row,
    errors_in_calls,
    faults_in_system_calls,
    leftovers,
    signals_in_calls,
)
from machine import heading

WRITE_NETWORK = """
import sys, torch
from ssn_prune.architectures.registry import DEMO_NETWORK, find_architecture
from ssn_prune.nn.ssn import SSN
model = find_architecture(DEMO_NETWORK, trusted=True).build()
for index, layer in enumerate(m for m in model.modules() if isinstance(m, SSN)):
    for place, gate in enumerate(("mean", "var")):
        getattr(layer, f"{gate}_weight").data.copy_(torch.eye(3)[(index + place) % 3])
        getattr(layer, f"{gate}_fixed").fill_(1)
torch.save({"model": DEMO_NETWORK, "state_dict": model.state_dict()}, sys.argv[1])
"""


class Commands:
    """Whole conversions of one network, whose file is known.

    They leave out the checks, which write nothing and would take half of the time.
    """

    def __init__(self, folder: Path) -> None:
        self.checkpoint, self.old = folder / "network.pth", b"an older file"
        run = [sys.executable, "-c", WRITE_NETWORK, str(self.checkpoint)]
        subprocess.run(run, check=True)
        reference = folder / "reference.onnx"
        start = time.monotonic()
        if self.start(reference).wait():
            raise SystemExit("the conversion fails without any fault")
        self.seconds = time.monotonic() - start
        self.complete = reference.read_bytes()

    def start(self, target: Path) -> subprocess.Popen[bytes]:
        """A command that converts the network to ``target``."""
        command = ["-P", "-m", "ssn_prune", "convert", str(self.checkpoint), "-o", str(target)]
        command += ["--force", "--verify", "none", "--quiet"]
        return subprocess.Popen(
            [sys.executable, *command], env=ENVIRONMENT, stderr=subprocess.DEVNULL
        )

    def state(self, target: Path) -> str:
        """What a target is."""
        if not target.exists():
            return "absent"
        content = target.read_bytes()
        return {self.old: "old", self.complete: "complete"}.get(content, "partial")

    def next_run(self, target: Path, *, whole: bool) -> int:
        """What is left after another run, of a whole command or only of its writing."""
        from write_faults import write

        if not whole:
            write(target, "next")
        elif self.start(target).wait() or self.state(target) != "complete":
            raise SystemExit("the next run fails")
        return leftovers(target.parent)


def random_ends(folder: Path, commands: Commands, kills: int) -> Iterator[Row]:
    """Whole commands that are ended at random moments."""
    chance, longest = random.Random(0), commands.seconds
    for names, count in ((("SIGKILL",), kills), (("SIGINT", "SIGTERM", "SIGHUP"), kills // 3)):
        row = Row(f"{', '.join(names)} at a random moment", "`ssn-prune convert`")
        for index in range(count):
            while True:
                target = Path(tempfile.mkdtemp(dir=folder)) / "model.onnx"
                if index % 2:
                    target.write_bytes(commands.old)
                process = commands.start(target)
                time.sleep(chance.uniform(0, longest))
                if process.poll() is None:
                    break
                longest *= 0.9  # it was already over: the machine is faster than before
            process.send_signal(getattr(signal, names[index % len(names)]))
            process.wait()
            state, left = commands.state(target), leftovers(target.parent)
            row.add(state, left, commands.next_run(target, whole=index == count - 1))
        yield row


def two_at_once(folder: Path, commands: Commands) -> Iterator[Row]:
    """Two commands with one target; each must succeed."""
    row = Row("a second run with the same target", "`ssn-prune convert`")
    for pause in (0.0, 0.1):
        target = Path(tempfile.mkdtemp(dir=folder)) / "model.onnx"
        first = commands.start(target)
        time.sleep(pause)
        codes = [commands.start(target).wait(), first.wait()]
        state = commands.state(target) if codes == [0, 0] else "partial"
        left = leftovers(target.parent)
        row.add(state, left, commands.next_run(target, whole=False))
    yield row


def full_disk(folder: Path, commands: Commands) -> Iterator[Row | str]:
    """A file system in memory that is too small."""
    row = Row("a full disk (tmpfs)", "`ssn-prune convert`")
    for share, old in ((0.1, False), (0.5, True), (0.9, True)):
        disk = Path(tempfile.mkdtemp(dir=folder))
        size = f"size={int(share * len(commands.complete)) // 4096 * 4096}"
        mount = ["mount", "-t", "tmpfs", "-o", size, "none", str(disk)]
        try:
            done = subprocess.run(mount, capture_output=True, text=True, check=False)
        except FileNotFoundError:
            yield "A full disk was left out: there is no command mount."
            return
        if done.returncode:
            yield f"A full disk was left out: {done.stderr.strip()}"
            return
        try:
            target = disk / "model.onnx"
            if old:
                target.write_bytes(commands.old)
            code = commands.start(target).wait()
            state = commands.state(target) if code == 1 else "partial"
            row.add(state, leftovers(disk), commands.next_run(target, whole=False))
        finally:
            subprocess.run(["umount", str(disk)], check=True)
    yield row


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--kills", type=int, default=30)
    parser.add_argument("--markdown", type=Path)
    options = parser.parse_args()
    lines = [
        f"| fault | in | times | {' | '.join(STATES)} | leftovers | after the next run |",
        f"|{'---|' * (len(STATES) + 5)}",
    ]
    notes = []
    print("\n".join(lines), flush=True)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        parts: list[Callable[[Path], Iterator[Row | str]]] = [
            errors_in_calls,
            signals_in_calls,
            faults_in_system_calls,
        ]
        commands = Commands(folder)
        parts += [functools.partial(part, commands=commands) for part in (full_disk, two_at_once)]
        parts += [functools.partial(random_ends, commands=commands, kills=options.kills)]
        for part in parts:
            for row in part(folder):
                print(row, flush=True)
                (notes if isinstance(row, str) else lines).append(str(row))
    if options.markdown:
        how = f"{options.kills} random kills; {platform_of(Path(tempfile.gettempdir()))}"
        title = heading("Faults while a file is written", "faults.py", how)
        options.markdown.write_text(title + "\n".join([*lines, "", *notes, LEGEND]))


def platform_of(folder: Path) -> str:
    """The system, and the file system of the temporary folder."""
    found = subprocess.run(
        ["stat", "-f", "-c", "%T", str(folder)], capture_output=True, text=True, check=False
    )
    system = os.uname()
    return f"{system.sysname} {system.release}, {found.stdout.strip() or 'unknown file system'}"


LEGEND = """\
*partial* also counts a target that is wrong although the run reported success, and a run that ended
in another way than it should. *Leftovers* are folders `.ssn_prune.*.tmp` next to the target, which
stay after a kill or after an error in removing them. The next run writes to the same target; after
the last random kill and the last random signal it is a whole command.
"""

if __name__ == "__main__":
    main()
