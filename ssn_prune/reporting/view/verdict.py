"""The verdict: one sentence, one colour, three numbers."""

from __future__ import annotations

import itertools
import shlex
from dataclasses import dataclass
from typing import Literal

from ssn_prune.pruning.results import RoundedGates
from ssn_prune.reporting.figures import counted, milliseconds, share, small
from ssn_prune.reporting.run import Run
from ssn_prune.reporting.view.layers import Layer
from ssn_prune.reporting.view.searched import searched_figures, searched_sentence
from ssn_prune.reporting.view.speed import Speed, speed_of
from ssn_prune.verification.results import VerificationReport

Status = Literal["same", "changed", "failed", "unverified"]


@dataclass(frozen=True)
class Figure:
    """One of the numbers.

    Attributes:
        value: The number.
        label: What it measures.
        note: What to compare it with, such as the value before or the bound.
    """

    value: str
    label: str
    note: str


@dataclass(frozen=True)
class Verdict:
    """The verdict on a run.

    Attributes:
        status: Determines the colour.
        lead: Whether the result can be used, in a few words.
        sentence: The text after the lead, including the comma or blank between them.
        detail: A second sentence, about the layers.
        command: A command that measures the speed; None if it is measured or not needed.
        figures: Up to three numbers.
    """

    status: Status
    lead: str
    sentence: str
    detail: str
    command: str | None
    figures: tuple[Figure, ...]


def verdict_of(run: Run, layers: tuple[Layer, ...]) -> Verdict:
    """Judge a run."""
    speed = speed_of(run.bench)
    status, lead, sentence = _judged(run, speed)
    measured = speed is not None or status == "failed" or not run.report.has_file
    changed, about = searched_sentence(run), _about_layers(run, layers)
    if changed is not None and status == "same":  # as the chosen network, not the checkpoint
        sentence = f" {changed} The file computes exactly that network."
        status, lead = "changed", "Another network:"
    elif changed is not None:
        about = f"This is not the checkpoint's network: {changed} {about}"
    return Verdict(
        status,
        lead,
        sentence,
        about,
        None if measured or run.search is not None else _bench_command(run),
        _figures(run, layers, speed),
    )


_BENCH_OPTIONS = ("arch", "arch-args", "prefix", "weights", "input-size", "correction")
"""Options with a value that a benchmark also needs."""


def _bench_command(run: Run) -> str:
    """The command to measure the speed, with the options of the conversion about the network."""
    typed = run.report.command
    of_file = len(typed) > 2 and typed[1] in ("convert", "verify")
    words = ["ssn-prune", "bench", typed[2] if of_file else run.report.source.file_name]
    for option, value in itertools.pairwise(typed):
        if option.startswith("--") and option[2:] in (*_BENCH_OPTIONS, "on-unconverged"):
            words += [option, value]
    return shlex.join(words)


def _judged(run: Run, speed: Speed | None) -> tuple[Status, str, str]:
    report, checks = run.report, run.report.verification
    if checks is not None and not checks.passed:
        return "failed", "Do not use.", f" {_failure(checks, written=not report.has_file)}"
    if report.rounded is not None:
        return "changed", "Answers changed:", f" {_rounded(report.rounded)}"
    if not report.has_file and checks is None:
        return "unverified", "Selection only.", " Nothing was converted."
    if checks is None or (checks.algebra is None and checks.rounding is None):
        return "unverified", "Not verified.", " All checks were switched off."
    if checks.rounding is None:
        return "unverified", "Not verified.", " The plan is exact, but the file was not run."
    adoption = checks.adoption
    if adoption is not None and adoption.reason == "code_cannot_run":
        return (
            "unverified",
            "Not compared with your code,",
            " which cannot run here. The file agrees with what ssn_prune makes of its layers.",
        )
    return "same", "Same answers", _gain(run, speed)


def _rounded(rounded: RoundedGates) -> str:
    moved = share(rounded.max_error / rounded.scale) if rounded.scale else "an unknown share"
    layers = counted(len(rounded.layers), "layer")
    return f"the gates of {layers} were rounded; outputs change by {moved} of scale."


def _failure(checks: VerificationReport, *, written: bool) -> str:
    """Which layer is off, and by how much."""
    after = "" if written else " No file was written."
    algebra, rounding = checks.algebra, checks.rounding
    if algebra is not None and not algebra.passed:
        layers, name = algebra.layers, algebra.first_layer_off
        error, bound = algebra.output_error, algebra.tolerance
    elif rounding is not None and not rounding.passed:
        layers, name = rounding.layers, rounding.first_layer_off
        unit = rounding.scale or 1.0
        error, bound = rounding.max_error / unit, rounding.bound / unit
        if error <= bound:
            agreement = rounding.top1_agreement
            some = "" if agreement is None else f" for {share(1 - agreement)} of the inputs"
            return f"The errors are small enough, but top-1 classes differ{some}.{after}"
    else:
        wrong = next(check for check in checks.runtimes if not check.passed)
        return (
            f"{wrong.runtime} {wrong.version} is off by {small(wrong.error)} of scale, "
            f"allowed {small(wrong.bound)}."
        )
    first = next((layer for layer in layers if layer.layer == name), None)
    if first is None:
        return f"The output is off by {small(error)} of scale, allowed {small(bound)}.{after}"
    return (
        f"{first.layer} is the first layer that is off: {small(first.error)} of scale, allowed "
        f"{small(first.bound)}.{after}"
    )


def _gain(run: Run, speed: Speed | None) -> str:
    """The gains, with the punctuation before them."""
    won = []
    rest = " Speed not measured."
    if speed is not None:
        rest = "" if speed.certain else " The speed difference is within this machine’s noise."
        if speed.certain:
            won.append(f"{share(abs(speed.gain))} {'faster' if speed.gain > 0 else 'slower'}")
    fewer = _fewer_nodes(run)
    won += [] if fewer is None else [fewer]
    return "".join(f", {entry}" for entry in won) + f".{rest}"


def _counts(run: Run) -> tuple[int, int, str] | None:
    """Nodes before and after, and what is counted."""
    speed = speed_of(run.bench)
    if speed is not None and speed.original.nodes:
        return speed.original.nodes, speed.pruned.nodes, "ONNX nodes"
    before, after = run.report.before, run.report.after
    if before is None or after is None or not before.operators or after.operators is None:
        return None
    return sum(before.operators.values()), sum(after.operators.values()), "operators"


def _fewer_nodes(run: Run) -> str | None:
    counts = _counts(run)
    if counts is None or counts[1] >= counts[0]:
        return None
    return f"{share(1 - counts[1] / counts[0])} fewer {counts[2].removeprefix('ONNX ')}"


def _about_layers(run: Run, layers: tuple[Layer, ...]) -> str:
    if not layers:
        return "There is no switchable layer."
    soft = sum(layer.unfinished for layer in layers)
    mixed = sum(layer.mean.normalizer != layer.var.normalizer for layer in layers)
    mix = f"{mixed} {'mixes' if mixed == 1 else 'mix'} two" if mixed else "none mixes two"
    one = "uses one normalizer for the mean and one for the variance"
    if not soft:
        if len(layers) == 1:
            return f"The only layer {one}."
        return f"Each of the {len(layers)} layers {one}; {mix}."
    converted = run.report.has_file and run.report.rounded is None
    kept = "; the others keep the weighted form" if converted else ""
    if soft == len(layers):
        return f"None of the {len(layers)} layers {one} yet."
    return f"{len(layers) - soft} of {len(layers)} layers {one.replace('uses', 'use')}{kept}."


def _figures(run: Run, layers: tuple[Layer, ...], speed: Speed | None) -> tuple[Figure, ...]:
    found = [Figure(*parts) for parts in searched_figures(run)]
    checks = run.report.verification
    rounding = None if checks is None else checks.rounding
    if speed is not None and not found:
        before, after = milliseconds(speed.original.median_ms), milliseconds(speed.pruned.median_ms)
        found.append(Figure(after, "latency", f"{before} before"))
    counts = _counts(run)
    if counts is not None and run.search is None:
        found.append(Figure(f"{counts[1]:,}", counts[2], f"{counts[0]:,} before"))
    if rounding is not None:
        unit = rounding.scale or 1.0
        allowed = f"{small(rounding.bound / unit)} allowed"
        found.append(Figure(small(rounding.max_error / unit), "error, of scale", allowed))
    gone = sum(layer.folded for layer in layers)
    if run.report.has_file:
        found.append(Figure(f"{gone}", "layers folded away", f"of {len(layers)}"))
    soft = sum(layer.unfinished for layer in layers)
    if not run.report.has_file and layers:
        found.append(
            Figure(f"{len(layers) - soft}", "layers with one-hot gates", f"of {len(layers)}")
        )
    return tuple(found[:3])
