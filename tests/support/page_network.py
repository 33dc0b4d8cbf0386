"""The network of the checkpoints that the pages convert; small, since they do so often.

Run as a program, this is ``ssn-prune`` with this network registered.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import numpy as np
import torch
from helpers import TinyNetwork, one_hot_gates, randomize
from torch import nn

from ssn_prune.architectures import registry
from ssn_prune.architectures.architecture import Architecture
from ssn_prune.architectures.usual_preprocessing import UsualPreprocessing
from ssn_prune.nn.switchable import SwitchableNorm

NAME = "page_network"
INPUT_SIZE = (1, 16, 16)
Network = partial(TinyNetwork, num_classes=10)
ROW = Architecture(
    NAME,
    Network,
    INPUT_SIZE,
    None,
    takes_correction=False,
    preprocessing=UsualPreprocessing((0.5,), (0.5,)),
)
NETWORKS = (*registry.NETWORKS, ROW)


def as_trained(build: Callable[[], nn.Module], seed: int) -> nn.Module:
    """A network with random parameters and a random selection."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        made = build()
    randomize(made, seed)
    choice = np.random.default_rng(seed)
    for layer in made.modules():
        if isinstance(layer, SwitchableNorm):
            one_hot_gates(layer, *choice.integers(3, size=2))
    return made.eval()


if __name__ == "__main__":
    from ssn_prune.__main__ import main

    registry.NETWORKS = NETWORKS
    main()
