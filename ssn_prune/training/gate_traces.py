"""A gate's history in one line: which normalizer led when, and when the gate became one-hot."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from ssn_prune.normalizer import Normalizer

if TYPE_CHECKING:
    from ssn_prune.training.history import GateRecords

Floats = np.ndarray[Any, np.dtype[np.float32]]

_LETTERS = "ilb"  # IN, LN, BN


@dataclass(frozen=True)
class GateTrace:
    """One gate over the training.

    Attributes:
        layer: Name of the layer.
        gate: ``"mean"`` or ``"var"``.
        line: One letter per equal part of the training: i, l or b for the normalizer with the
            largest ratio at its end (the lowest index on a tie), in capitals if that ratio is 1.
        one_hot_since: First recorded step from which the ratios stay one-hot; None without one.
        choice: The leading normalizer at the end; None if nothing was recorded.
        changes: How often the leading normalizer changed between recorded steps.
        margins: One digit per letter of ``line``: how far the largest ratio is ahead of the second,
            0 to 9.
        ratios: Four digits per letter of ``line``: the ratios of IN and LN in units of 1/99; that
            of BN is the rest.
    """

    layer: str
    gate: str
    line: str
    one_hot_since: int | None
    choice: Normalizer | None
    changes: int
    margins: str = ""
    ratios: str = ""


def gate_traces(records: GateRecords, width: int = 40) -> tuple[GateTrace, ...]:
    """Summarize every gate of a history.

    Args:
        records: What was recorded.
        width: Letters per line; a shorter history gives shorter lines.

    Returns:
        The mean and the variance gate of every layer, in the network's order.
    """
    count = len(records.steps)
    parts = min(width, count)
    shown = [(part + 1) * count // parts - 1 for part in range(parts)]
    traces = []
    for index, layer in enumerate(records.layers):
        for row, gate in enumerate(("mean", "var")):
            ratios = records.ratios[:, index, row]
            leaders = ratios.argmax(axis=1)
            one_hot = ratios.max(axis=1) == 1
            soft = np.flatnonzero(~one_hot)
            first = int(soft[-1]) + 1 if len(soft) else 0
            letters = [_LETTERS[leaders[i]] for i in shown]
            traces.append(
                GateTrace(
                    layer,
                    gate,
                    "".join(
                        letter.upper() if one_hot[i] else letter
                        for letter, i in zip(letters, shown, strict=True)
                    ),
                    int(records.steps[first]) if first < count else None,
                    Normalizer(int(leaders[-1])) if count else None,
                    int(np.count_nonzero(np.diff(leaders))),
                    "".join(map(_margin, ratios[shown])),
                    "".join(map(_digits, ratios[shown])),
                )
            )
    return tuple(traces)


def _margin(ratios: Floats) -> str:
    second, first = np.sort(ratios)[-2:]
    return str(int(np.clip(np.nan_to_num(9 * (first - second)), 0, 9)))


def _digits(ratios: Floats) -> str:
    first, second = np.clip(np.nan_to_num(np.rint(99 * ratios[:2])), 0, 99)
    return f"{int(first):02}{int(second):02}"
