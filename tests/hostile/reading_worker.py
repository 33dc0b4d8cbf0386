"""The process that reads hostile files: one path per line in, one outcome per line out, as JSON.

It is told what to do with a file: load it (``load``), load it with the network that it names
(``named``), or run a command on it (``inspect``, ``json``).
"""

from __future__ import annotations

import codecs
import contextlib
import gc
import importlib
import io
import json
import os
import signal
import sys
import time
from pathlib import Path
from typing import Any

import torch
from sound_content import BYTES
from typer.main import get_command
from watching import Watch, forget, peak_and_now, process_state

from ssn_prune import SsnPruneError, UnsafeCheckpointError, load_checkpoint
from ssn_prune.cli.app import app

COMMAND = get_command(app)
LONGEST = 6_000
FOREIGN = ("Traceback", "error: unexpected", "weights_only", "please report")


def problems_of_text(text: str) -> list[str]:
    """The faults of a message for people."""
    found = [f"says {phrase!r}" for phrase in FOREIGN if phrase in text]
    odd = {c for c in text if not c.isprintable() and c != "\n"}
    found += [f"holds the characters {sorted(map(ascii, odd))}"] if odd else []
    found += [f"is {len(text)} characters long"] if len(text) > LONGEST else []
    return found


def load(path: Path, arch: str | None) -> dict[str, Any]:
    """Load a network in this process."""
    try:
        loaded = load_checkpoint(path, arch=arch)
    except SsnPruneError as error:
        kind = "unsafe" if isinstance(error, UnsafeCheckpointError) else "refused"
        problems = [f"the message {p}" for p in problems_of_text(str(error))]
        missing = {"expected", "found", "try"} - error.details().keys()
        problems += [f"the message lacks {sorted(missing)}"] if missing else []
        return {"kind": kind, "text": str(error)[:600], "problems": problems}
    # Anything else is what the tests look for.
    except BaseException as error:  # noqa: BLE001
        return failed(error)
    found = {key: value.numpy().tobytes() for key, value in loaded.model.state_dict().items()}
    changed = [key for key in BYTES if found.get(key) != BYTES[key]]
    facts = ascii(sorted(loaded.source.facts.items()))[:1000]
    return {"kind": "read", "text": "", "problems": [], "changed": changed, "facts": facts}


def command(path: Path, *options: str) -> dict[str, Any]:
    """Run ``ssn-prune inspect`` in this process."""
    out, err = io.BytesIO(), io.BytesIO()
    code: object = 0
    problems = []
    with (
        contextlib.redirect_stdout(io.TextIOWrapper(out, "utf-8", write_through=True)) as stdout,
        contextlib.redirect_stderr(
            io.TextIOWrapper(err, "utf-8", "backslashreplace", write_through=True)
        ) as stderr,
    ):
        try:
            COMMAND.main(["inspect", str(path), *options], prog_name="ssn-prune")
        except SystemExit as end:
            code = end.code
        # Anything else is what the tests look for.
        except BaseException as error:  # noqa: BLE001
            problems.append(f"raised {type(error).__name__}: {str(error)[:200]}")
    problems += [f"exit code {code}"] if code not in (0, 1, 2) else []
    try:
        text = err.getvalue().decode() + ("" if options else out.getvalue().decode())
        if options:
            json.loads(out.getvalue().decode(), parse_constant=problems.append)
    except ValueError as error:
        problems.append(f"printed what is no text or JSON: {error}")
        text = ""
    # The length of a table depends on the network; only messages have a maximum length.
    problems += [p for p in problems_of_text(text) if code or "long" not in p]
    stdout.detach(), stderr.detach()
    kind = "refused" if code else "read"
    return {"kind": kind, "text": text[:600], "problems": [f"inspect: {p}" for p in problems]}


ACTIONS = {
    "load": lambda path: load(path, "sound_network:Network"),
    "named": lambda path: load(path, None),
    "inspect": command,
    "json": lambda path: command(path, "--json"),
}


def misdeed(kind: str, folder: Path) -> dict[str, Any]:
    """Do what reading a file must not do, to check that it would be detected."""
    match kind:
        case "write":
            (folder / "written").write_text("x")
        case "execute":
            os.system("true")
        case "import":
            importlib.import_module("tabnanny")
        case "raise":
            return failed(ValueError("x"))
        case "eat":
            _ = b"x" * (400 << 20)
        case "work":
            end = time.process_time() + 1.5
            while time.process_time() < end:
                pass
        case "die":
            os.abort()
        case "change":
            sys.setrecursionlimit(sys.getrecursionlimit() + 1)
        case "hang":
            signal.pause()
    return {"kind": "read", "text": "", "problems": []}


def failed(error: BaseException) -> dict[str, Any]:
    """The outcome of an error that is not one of this package."""
    text = f"{type(error).__name__}: {str(error)[:300]}"
    return {"kind": "failed", "text": text, "problems": [f"raised {text}"]}


def main() -> None:
    """Warm up with the files on the command line, then read what standard input names."""
    torch.set_num_threads(1)
    watch = Watch()
    for codec in ("cp437", "unicode_escape", "raw_unicode_escape"):  # of zip, and of messages
        codecs.lookup(codec)
    for path in sys.argv[1:]:
        for action in ACTIONS.values():
            action(Path(path))
    gc.collect()
    gc.freeze()
    forget()
    _, base = peak_and_now()
    print("ready", flush=True)
    for line in sys.stdin:
        action, path = line.rstrip("\n").split(" ", 1)
        gc.collect()
        forget()
        before, start = process_state(), time.process_time()
        with watch.on() as events:
            if action in ACTIONS:
                outcome = ACTIONS[action](Path(path))
            else:
                outcome = misdeed(action, Path(path))
        seconds, (peak, _) = time.process_time() - start, peak_and_now()
        after = process_state()
        stayed = [name for name in before if before[name] != after[name]]
        outcome["problems"] += [f"changed the {name} of the process" for name in stayed]
        outcome["problems"] += [f"did {event}" for event in events]
        print(json.dumps({**outcome, "seconds": seconds, "memory": peak - base}), flush=True)


if __name__ == "__main__":
    main()
