"""``ssn-prune doctor``: what is installed, what is wrong with it, and what a runtime reads."""

from __future__ import annotations

import contextlib
import re
from typing import TYPE_CHECKING, Annotated, Any

import typer

from ssn_prune._version import __version__
from ssn_prune.cli.flags import with_flags
from ssn_prune.cli.options import Debug, Json
from ssn_prune.cli.runner import exit_on_error
from ssn_prune.console import Output, escape
from ssn_prune.errors import ArgumentError

if TYPE_CHECKING:
    from ssn_prune.installation import Installation
    from ssn_prune.runtime.onnx_runtime_versions import Readable


def doctor(
    for_: Annotated[
        str | None,
        typer.Option(
            "--for",
            metavar="onnxruntime==X",
            help="Say only what this version of ONNX Runtime reads, and how to convert for it.",
        ),
    ] = None,
    json: Json = False,
    debug: Debug = False,
) -> None:
    """Check the installation: versions, and combinations that are known to fail."""
    out = Output(as_json=json)
    with exit_on_error(out, debug):
        from ssn_prune.runtime.onnx_runtime_versions import readable_by

        if for_ is not None:
            reads = readable_by(_version(for_))
            if json:
                out.json(_reads(reads))
            out.message(_line(reads))
            return
        from ssn_prune.installation import installation
        from ssn_prune.json_values import to_json

        found = installation()
        runtime = next((v for n, v in found.packages.items() if n.startswith("onnxruntime")), None)
        readable = None
        with contextlib.suppress(ArgumentError):  # a version too old is listed as a problem
            readable = None if runtime is None else readable_by(runtime)
        if json:
            document = {"version": __version__, **to_json(found)}
            for entry in document["problems"]:
                entry["hint"] = with_flags(entry["hint"])
            document["notes"] = list(map(with_flags, document["notes"]))
            out.json(document | {"onnxruntime": None if readable is None else _reads(readable)})
        _show(out, found, readable)
    if found.problems:
        raise typer.Exit(1)


def _version(text: str) -> str:
    name = re.fullmatch(r"onnxruntime(?:-\w+)?\s*==\s*([\w.+-]+)", text.strip())
    if name is None:
        raise ArgumentError(
            "--for names no version of ONNX Runtime",
            expected="onnxruntime==X, such as onnxruntime==1.16.3",
            found=repr(text),
            hint="for another runtime that is installed: ssn-prune verify CKPT FILE --with NAME",
        )
    return name[1]


def _reads(reads: Readable) -> dict[str, Any]:
    return {
        "version": reads.version,
        "opset": reads.opset,
        "ir_version": reads.ir_version,
        "convert_options": _options(reads),
    }


def _options(reads: Readable) -> list[str]:
    from ssn_prune.runtime.onnx_runtime_versions import DEFAULT_OPSET

    return [] if reads.use_opset == DEFAULT_OPSET else ["--opset", str(reads.use_opset)]


def _line(reads: Readable) -> str:
    options = " ".join(_options(reads))
    how = f"convert with {options}" if options else "the default options write such files"
    return (
        f"ONNX Runtime {escape(reads.version)} reads operator sets up to {reads.opset} and format "
        f"versions (IR) up to {reads.ir_version}: {how}"
    )


def _show(out: Output, found: Installation, readable: Readable | None) -> None:
    machine = found.environment
    out.message(f"ssn_prune {__version__}, Python {machine.python}, {escape(machine.system)}")
    for name, version in found.packages.items():
        out.message(f"  {escape(name)} {escape(version)}")
    if readable is not None:
        out.message(_line(readable))
    for note in found.notes:
        out.message(escape(with_flags(note)))
    for entry in found.problems:
        out.message(f"[bold red]problem:[/] {escape(entry.problem)}")
        out.message(f"  try: {escape(with_flags(entry.hint))}")
    if not found.problems:
        out.message("[bold]no problem found[/]")
