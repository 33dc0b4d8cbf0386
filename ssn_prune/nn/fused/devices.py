"""Which devices run the kernels."""

from __future__ import annotations

import os
import warnings
from functools import cache
from importlib.util import find_spec

import torch


@cache
def runs_on(device: torch.device) -> bool:
    """Whether there are kernels for tensors of a device.

    Triton comes with torch where torch has CUDA. To launch anything it needs a C compiler, Python's
    headers and a GPU that it knows, which only a launch tells.
    """
    interpreted = device.type == "cpu" and os.environ.get("TRITON_INTERPRET") == "1"
    if not (device.type == "cuda" or interpreted) or find_spec("triton") is None:
        return False
    try:
        from ssn_prune.nn.fused.kernels.trial import launch_trial

        launch_trial(device)
    except Exception as error:  # noqa: BLE001 - whatever is missing, training goes on without
        warnings.warn(
            f"Triton cannot launch kernels on {device}, so switchable layers train with several "
            f"times as many operators of torch; the cause: {type(error).__name__}: {error}",
            stacklevel=2,
        )
        return False
    return True
