"""The sweep's outcomes as a Markdown document."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence

from sweep_outcome import Outcome, Reason
from sweep_setup import STEADY

COMMAND = "python tests/sweep/sweep_architectures.py"
_GOALS = {"torchvision": 1.0, "timm": 0.98}
_COLUMNS = (
    "network",
    "input",
    "variance",
    "layers",
    "folded",
    "not folded",
    "operators before",
    "ONNX nodes",
    "algebra error",
    "rounding error / bound",
    "s",
    "result",
)


def markdown(outcomes: Iterable[Outcome], missing: Iterable[str] = ()) -> str:
    """The document: what was done, how many ended OK, the table, the failures, the rest.

    Args:
        outcomes: One per network.
        missing: Networks of the default run that have no outcome yet.
    """
    listed = sorted(outcomes, key=lambda o: (not o.name.startswith("torchvision"), o.name))
    swapped = [outcome for outcome in listed if outcome.reason is not Reason.NO_NORM]
    letters = _letters(swapped)
    parts = [
        _head(listed),
        "\n".join(_summary(library, listed) for library in _GOALS),
        _legend(letters),
        _table(swapped, letters),
        _failures([outcome for outcome in swapped if outcome.reason is not Reason.OK]),
        _notes(listed),
        _missing(sorted(missing)),
    ]
    return "\n\n".join(part for part in parts if part) + "\n"


def _missing(names: Sequence[str]) -> str:
    if not names:
        return ""
    listed = ", ".join(f"`{name}`" for name in names)
    command = f"{COMMAND} --resume FILE"
    return (
        f"## Not run yet\n\n{len(names)} networks of the default run, the largest, have no outcome "
        f"yet; `{command}` goes on with them: {listed}."
    )


def _head(outcomes: Sequence[Outcome]) -> str:
    environments = "; ".join(sorted({o.environment for o in outcomes if o.environment}))
    days = sorted({o.date for o in outcomes if o.date})
    when = " to ".join(dict.fromkeys(days[:1] + days[-1:]))
    return f"""# Whole architectures with random selections

`{COMMAND}`: {environments}; {when}.

Every norm layer that can be a switchable one becomes SSN, with one of the nine pairs of mean and
variance, drawn so that all nine are equally frequent. Scales are normally distributed around 1,
with 10 % made negative and, in half of the layers, 3 % set to zero. Running statistics come from
one float64 pass and are then changed by up to 30 %. OK means three things: all layers were
replaced; the algebra check (1e-11 in float64, at every layer) and the rounding check (ONNX Runtime)
of `verify` passed; and exactly those layers folded that a count made without the library's graph
code (`tests/sweep/sweep_folds.py`) expects. Inputs are the smallest that a network takes. A
constant or non-finite output fails as `setup_failed`."""


def _summary(library: str, outcomes: Sequence[Outcome]) -> str:
    ours = [o for o in outcomes if o.name.startswith(f"{library}:")]
    reasons = Counter(outcome.reason for outcome in ours)
    swapped = len(ours) - reasons[Reason.NO_NORM]
    if not swapped:
        return ""
    good = reasons.pop(Reason.OK, 0)
    none = reasons.pop(Reason.NO_NORM, 0)
    others = ", ".join(f"{count} {reason.value}" for reason, count in reasons.most_common())
    return (
        f"- **{library}: {good} of {swapped} OK** ({good / swapped:.1%}; goal "
        f"{_GOALS[library]:.0%})" + (f", {others}" if others else "") + f"; {none} more networks "
        "have no norm to swap."
    )


def _letters(outcomes: Sequence[Outcome]) -> dict[str, str]:
    """A letter for every reason code of a refused fold, the commonest first."""
    total = Counter[str]()
    for outcome in outcomes:
        total.update(outcome.refused)
    return {code: chr(ord("a") + index) for index, (code, _) in enumerate(total.most_common())}


def _legend(letters: dict[str, str]) -> str:
    listed = ", ".join(f"{letter} `{code}`" for code, letter in letters.items())
    return f"Reasons for layers that did not fold: {listed}." if listed else ""


def _table(outcomes: Sequence[Outcome], letters: dict[str, str]) -> str:
    lines = [_line(_COLUMNS), _line(["---"] * len(_COLUMNS))]
    return "\n".join([*lines, *(_line(_row(outcome, letters)) for outcome in outcomes)])


def _row(outcome: Outcome, letters: dict[str, str]) -> list[str]:
    refused = sorted((letters[code], count) for code, count in outcome.refused.items())
    variance = {0: "biased", 1: "corrected", None: ""}[outcome.correction]
    return [
        outcome.name,
        outcome.inputs,
        variance,
        _number(outcome.layers),
        _number(outcome.folded),
        " ".join(f"{count}{letter}" for letter, count in refused),
        _number(outcome.operators_before),
        _number(outcome.nodes_after),
        "" if outcome.algebra_error is None else f"{outcome.algebra_error:.0e}",
        "" if outcome.rounding_share is None else f"{outcome.rounding_share:.2f}",
        "" if outcome.seconds is None else f"{outcome.seconds:.0f}",
        outcome.reason.value,
    ]


def _number(value: int | None) -> str:
    return "" if value is None else str(value)


def _line(cells: Iterable[str]) -> str:
    return "| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |"


def _failures(outcomes: Sequence[Outcome]) -> str:
    if not outcomes:
        return ""
    lines = ["## What did not end OK", ""]
    for outcome in outcomes:
        limit = outcome.limit.value if outcome.limit else "unknown"
        grown = outcome.noise_growth or 0
        noise = f" Noise in the last digits grows {grown:.0e} times." if grown > STEADY else ""
        lines.append(
            f"- **{outcome.name}**: `{outcome.reason.value}`, limit: {limit}. "
            f"{outcome.detail}{noise}  \n  `{outcome.reproduction.replace('`', chr(39))}`"
        )
    return "\n".join(lines)


def _notes(outcomes: Sequence[Outcome]) -> str:
    fixed = [f"- {o.name}: {o.fixed_batch}" for o in outcomes if o.fixed_batch]
    none = [o.name for o in outcomes if o.reason is Reason.NO_NORM]
    lines = []
    if fixed:
        listed = "\n".join(fixed)
        lines.append(f"## Exported with a fixed batch\n\n{listed}")
    if none:
        lines.append(f"## No norm to swap\n\n{', '.join(none)}.")
    return "\n\n".join(lines)
