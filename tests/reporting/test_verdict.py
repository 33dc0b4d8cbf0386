"""The sentence at the top: what it promises, and what it must not."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest
from report_runs import RESNET18, bench, layers, rounded, run

from ssn_prune.benchmarking.records import BenchReport
from ssn_prune.reporting.run import Run
from ssn_prune.reporting.view.layers import layers_of
from ssn_prune.reporting.view.verdict import Verdict, verdict_of
from ssn_prune.surgery.results import AdoptionCheck
from ssn_prune.verification.results import RuntimeCheck


def judged(found: Run, measured: BenchReport | None = None) -> Verdict:
    whole = Run(found.report, measured)
    return verdict_of(whole, layers_of(whole))


def text(verdict: Verdict) -> str:
    return f"{verdict.lead}{verdict.sentence}".replace("\u00a0", " ")


def test_a_conversion_that_is_faster() -> None:
    verdict = judged(run(), bench(40, 36))
    assert verdict.status == "same"
    assert text(verdict) == "Same answers, 10 % faster, 66 % fewer nodes."
    assert verdict.command is None
    assert [(f.value, f.note) for f in verdict.figures] == [
        ("36\u00a0ms", "40\u00a0ms before"),
        ("184", "539 before"),
        ("4.0e-7", "1.5e-6 allowed"),
    ]


def test_a_conversion_that_is_slower_says_so() -> None:
    assert "10 % slower" in text(judged(run(), bench(40, 44)))


def test_a_difference_within_the_noise_is_no_gain() -> None:
    verdict = judged(run(), bench(40, 39, spread=4))
    assert text(verdict).endswith("The speed difference is within this machine’s noise.")
    assert "faster" not in text(verdict)


def test_without_a_measurement_the_command_is_there() -> None:
    verdict = judged(run())
    assert text(verdict) == "Same answers, 66 % fewer operators. Speed not measured."
    assert verdict.command == "ssn-prune bench model.pth --arch net"
    assert len(verdict.figures) == 3


def test_a_command_quotes_what_a_shell_would_split() -> None:
    verdict = judged(run(command=("ssn-prune", "convert", "a b;c.pth")))
    assert verdict.command == "ssn-prune bench 'a b;c.pth'"


def test_rounded_gates_change_answers() -> None:
    verdict = judged(run(rounded=rounded()), bench())
    assert verdict.status == "changed"
    assert text(verdict) == (
        "Answers changed: the gates of 3 layers were rounded; outputs change by 2 % of scale."
    )


def test_a_layer_that_is_off_is_named_with_both_numbers() -> None:
    verdict = judged(run(first_off=7), bench())
    assert verdict.status == "failed"
    assert verdict.lead == "Do not use."
    assert verdict.sentence.startswith(f" {RESNET18[7]} is the first layer that is off: ")
    assert verdict.sentence.endswith("No file was written.")


def test_a_failure_without_a_layer_is_about_the_output() -> None:
    found = run(first_off=7).report
    rounding = replace(found.verification.rounding, first_layer_off=None, max_error=math.nan)
    verdict = judged(run(verification=replace(found.verification, rounding=rounding)))
    assert text(verdict) == (
        "Do not use. The output is off by infinite of scale, allowed 1.5e-6. No file was written."
    )


def test_other_classes_within_the_bound_are_called_that() -> None:
    found = run().report.verification
    rounding = replace(found.rounding, passed=False, top1_agreement=0.97)
    verdict = judged(run(verification=replace(found, rounding=rounding)))
    assert text(verdict) == (
        "Do not use. The errors are small enough, but top-1 classes differ for 3 % of the inputs. "
        "No file was written."
    )


def test_a_wrong_plan_is_named_before_the_file() -> None:
    checks = run(first_off=7).report.verification
    algebra = replace(checks.algebra, passed=False, first_layer_off=RESNET18[2])
    verdict = judged(run(verification=replace(checks, algebra=algebra)))
    assert f" {RESNET18[2]} is the first" in verdict.sentence


def test_another_runtime_that_is_wrong() -> None:
    check = RuntimeCheck("openvino", "2026.4", False, 0.1, 1e-6, 1e-6, 1e-5, 1e-6, "y", 1.0)
    checks = replace(run().report.verification, runtimes=(check,))
    verdict = judged(run(verification=checks, onnx=None))
    assert text(verdict) == (
        "Do not use. openvino 2026.4 is off by 1.0e-1 of scale, allowed 1.0e-5."
    )


@pytest.mark.parametrize(
    ("part", "words"),
    [
        ({"verification": None}, "Not verified. All checks were switched off."),
        ({"verification": None, "onnx": None}, "Selection only. Nothing was converted."),
        ({"algebra": None, "rounding": None}, "Not verified. All checks were switched off."),
        ({"rounding": None}, "Not verified. The plan is exact, but the file was not run."),
        ({"adoption": AdoptionCheck(False, "code_cannot_run")}, "Not compared with your code,"),
    ],
)
def test_what_was_not_verified_is_never_the_same(part: dict[str, object], words: str) -> None:
    parts = part
    if "verification" not in part:
        parts = {"verification": replace(run().report.verification, **part)}
    verdict = judged(run(**parts))
    assert verdict.status == "unverified"
    assert text(verdict).startswith(words)


def test_the_layers_are_counted() -> None:
    assert judged(run()).detail.startswith("Each of the 20 layers uses one normalizer")
    soft = judged(run(soft=(2, 5))).detail
    assert soft.startswith("18 of 20 layers use one normalizer")
    assert soft.endswith("; the others keep the weighted form.")
    assert judged(run(soft=range(20))).detail.startswith("None of the 20 layers")
    assert judged(run(layers=layers(["a"]))).detail.startswith("The only layer uses")
    assert judged(run(layers=())).detail == "There is no switchable layer."
