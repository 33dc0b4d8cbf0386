"""The draws of a test are the same in each run, alone and with others."""

from __future__ import annotations

import random

import hypothesis
import numpy as np
import torch


class TorchRandom:
    """What hypothesis seeds before each example, as it seeds `random` and numpy by itself."""

    seed = staticmethod(torch.manual_seed)
    getstate = staticmethod(torch.get_rng_state)
    setstate = staticmethod(torch.set_rng_state)


# Hypothesis keeps a weak reference only.
TORCH = TorchRandom()
hypothesis.register_random(TORCH)


def seed(number: int) -> None:
    """Seed all generators that a test may draw from."""
    random.seed(number)
    np.random.seed(number)
    torch.manual_seed(number)
