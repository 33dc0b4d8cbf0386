"""Choose the point of the front to deliver."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import TYPE_CHECKING

from ssn_prune.errors import SearchError

if TYPE_CHECKING:  # the terminal output needs only latency(), and should start fast
    from collections.abc import Sequence

    from ssn_prune.searching.results import FrontPoint, SearchOptions


def choose(front: Sequence[FrontPoint], options: SearchOptions) -> int:
    """Choose the least harmful point within a budget, or the fastest within an allowed drop.

    With both bounds, choose the least harmful of the points within both.

    Args:
        front: Measured points.
        options: The bounds.

    Returns:
        Its index.

    Raises:
        SearchError: No point is within the bounds; the error names the nearest one.
    """
    budget, allowed = options.budget, options.allowed_drop
    within = [i for i, p in enumerate(front) if allowed is None or p.drop <= allowed]
    if not within:
        least = min(front, key=lambda p: p.drop)
        raise SearchError(
            f"no network loses at most {allowed:g} points",
            expected=f"`max_drop={_rounded_up(least.drop)}` or more",
            found=f"{allowed:g}",
            hint=f"pass `max_drop={_rounded_up(least.drop)}`",
        )
    if budget is None:
        return min(within, key=lambda i: latency(front[i]))
    fast = [i for i in within if latency(front[i]) <= budget]
    if fast:
        return min(fast, key=lambda i: front[i].harm)
    nearest = min((front[i] for i in within), key=latency)
    # The upper quartile, since the median of the next run may be slightly higher.
    possible = _rounded_up(max(latency(nearest), nearest.upper or 0.0), 3)
    also = "" if allowed is None else f" among those that lose at most {allowed:g} points"
    raise SearchError(
        f"no network is as fast as {budget:g} times the one without norms",
        expected=f"`budget={possible}` or more",
        found=f"{budget:g}; the fastest{also} takes {latency(nearest):.3f} and loses "
        f"{nearest.drop:.2f} points",
        hint=f"pass `budget={possible}`" + ("" if allowed is None else ", or a larger `max_drop=`"),
    )


def choose_to_distil(
    front: Sequence[FrontPoint], options: SearchOptions
) -> tuple[int, SearchError | None]:
    """Like :func:`choose`, but what loses too much may become better if it is distilled.

    Returns:
        The index, and None; or the index of the least harmful point within the budget, and the
        error to raise if distillation does not bring it within the allowed drop.
    """
    try:
        return choose(front, options), None
    except SearchError as error:
        if not options.finetune_steps or options.budget is None:
            raise
        return choose(front, replace(options, max_drop=None)), error


def latency(point: FrontPoint) -> float:
    """The latency of a point: the measured one, or else the predicted one."""
    return point.predicted_ratio if point.ratio is None else point.ratio


def _rounded_up(value: float, digits: int = 2) -> str:
    scale = 10**digits
    return f"{math.ceil(value * scale - 1e-9) / scale:.{digits}f}"
