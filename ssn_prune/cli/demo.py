"""``ssn-prune demo``: train, convert, verify and compare, on data that comes with the package."""

from __future__ import annotations

import shlex
from dataclasses import replace
from pathlib import Path
from typing import Annotated

import typer

from ssn_prune.cli.command_line import typed_command
from ssn_prune.cli.options import Debug, Json, Quiet
from ssn_prune.cli.reports import write_reports
from ssn_prune.cli.runner import exit_on_error
from ssn_prune.cli.targets import make_folder
from ssn_prune.console import Output, escape, show_selection, totals_table, verification_lines


def demo(
    context: typer.Context,
    folder: Annotated[Path, typer.Option("--output", "-o", help="Folder for the files.")] = Path(
        "ssn_prune_demo"
    ),
    epochs: Annotated[int, typer.Option(min=1, help="Passes over the training images.")] = 30,
    seed: Annotated[int, typer.Option(help="Seed of weights and batches.")] = 0,
    json: Json = False,
    quiet: Quiet = False,
    debug: Debug = False,
) -> None:
    """Train a small SSN network on digits, convert it, and compare, in about a minute."""
    out = Output(as_json=json, quiet=quiet)
    with exit_on_error(out, debug):
        make_folder(folder)
        _run(out, folder, epochs, seed, typed_command(context))


def _run(out: Output, folder: Path, epochs: int, seed: int, command: tuple[str, ...]) -> None:
    """Write a checkpoint, an ONNX file and an HTML report to ``folder``."""
    import io

    import numpy as np
    import onnxruntime
    import torch

    from ssn_prune.architectures.registry import DEMO_NETWORK
    from ssn_prune.checkpoint.loading import load_checkpoint
    from ssn_prune.conversion import ConvertOptions, convert
    from ssn_prune.demo.digits import load_digits
    from ssn_prune.demo.training import accuracy, train
    from ssn_prune.files import replacing, require_writable, resolved, write_errors
    from ssn_prune.reporting.run import document_of
    from ssn_prune.training.gate_traces import gate_traces

    checkpoint, target, page = (folder / f"digits{s}" for s in (".pth", ".onnx", ".html"))
    for path in (checkpoint, target, page):
        require_writable(resolved(path), force=True)
    data = load_digits()
    out.message(
        f"Training a small SSN network on {len(data.train_images)} handwritten digits: each of its "
        "10 layers learns which normalizer\nto use for its mean and which for its variance."
    )
    with out.bar("training", epochs) as advance:
        trained = train(
            data,
            epochs,
            seed,
            lambda p: advance(
                p.epoch,
                f"loss {p.loss:.3f}, radius {p.radius:.2f}, one-hot gates {p.one_hot}/{p.gates}",
            ),
        )
    content = io.BytesIO()  # on a full disk, torch.save would raise a RuntimeError
    torch.save({"model": DEMO_NETWORK, "state_dict": trained.model.state_dict()}, content)
    with replacing(resolved(checkpoint)) as temporary, write_errors(checkpoint):
        temporary.write_bytes(content.getbuffer())

    with out.steps() as step:
        loaded = load_checkpoint(checkpoint)
        options = ConvertOptions(every_layer=True)
        report = convert(loaded, target, options, force=True, progress=step)
        with torch.no_grad():
            before = loaded.model(data.test_images)
        session = onnxruntime.InferenceSession(str(target), providers=["CPUExecutionProvider"])
        (logits,) = session.run(None, {"input": data.test_images.numpy()})
        after = torch.from_numpy(np.asarray(logits))

    traces = gate_traces(trained.history)
    document = document_of(replace(report, command=command), None, traces)
    write_reports(document, [page], written=target)
    accuracies = [accuracy(values, data.test_labels) for values in (before, after)]
    same = int((before.argmax(1) == after.argmax(1)).sum())
    if out.as_json:
        files = {"checkpoint": str(checkpoint), "onnx": str(target), "page": str(page)}
        scores = {"accuracy_before": accuracies[0], "accuracy_after": accuracies[1]}
        out.json({**files, **scores, "same_answers": same, "report": document})
    show_selection(out, report, "What every layer selected, and what it became")
    out.table(totals_table(report))
    if report.verification is not None:
        for line in verification_lines(report.verification):
            out.message(line)
    total = len(data.test_labels)
    out.message(
        f"accuracy on {total} test images: {accuracies[0]:.2%} in PyTorch, {accuracies[1]:.2%} in "
        f"ONNX Runtime; {same} of {total} classes are the same"
    )
    out.message(f"[bold]checkpoint[/] {escape(checkpoint)}\n[bold]ONNX[/]       {escape(target)}")
    quoted = escape(shlex.quote(str(checkpoint)))
    out.message(f"next: ssn-prune convert {quoted} -o model.onnx --bench --report report.html")
    out.message(f"[bold]page[/]       {escape(page)}  (open it in a browser)")
