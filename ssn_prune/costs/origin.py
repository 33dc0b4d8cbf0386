"""Whether costs say how fast files are here, or on another device."""

from __future__ import annotations

import onnxruntime

from ssn_prune.costs.records import CostOptions, Costs
from ssn_prune.environment import processor_name
from ssn_prune.runtime.providers import provider_named


def measured_elsewhere(costs: Costs, options: CostOptions) -> str | None:
    """What costs were measured with, if measuring them now would use anything else.

    Args:
        costs: The costs.
        options: How they would be measured now.

    Returns:
        The runtime, the device and their settings in words; None if they are those of this machine
        and of the options.
    """
    here = (
        *(f"ONNX Runtime {onnxruntime.__version__}", processor_name()),
        *(provider_named(options.provider), options.threads, options.batch, options.target),
    )
    there = (
        *(costs.runtime, costs.processor),
        *(costs.provider, costs.threads, costs.batch, costs.target),
    )
    if here == there:
        return None
    threads = "1 thread" if costs.threads == 1 else f"{costs.threads} threads"
    how = f"{costs.provider}, {threads}, batch {costs.batch}, files for {costs.target}"
    return f"{costs.runtime} on {costs.processor} ({how})"
