"""A capture says nothing on the terminal, and leaves logging and the collector as they were."""

import gc
import logging

import pytest
import torch
from networks import BN, Lambda, trained_layer
from torch import nn

from ssn_prune import prune
from ssn_prune.normalizer import NormalizerPair


def test_a_failed_capture_is_silent(capfd):
    def forward(m: nn.Module, x: torch.Tensor) -> torch.Tensor:
        return m.n(m.c(x)) if x.nonzero().numel() > 4 else x

    network = Lambda(forward, c=nn.Conv2d(3, 4, 3), n=trained_layer(4, NormalizerPair(BN, BN)))
    level = logging.root.manager.disable
    result = prune(network.eval(), torch.randn(2, 3, 8, 8))
    assert result.report.capture_error is not None
    assert capfd.readouterr() == ("", "")
    assert logging.root.manager.disable == level


@pytest.mark.parametrize("enabled", [True, False])
def test_the_collector_is_as_it_was_after_a_capture(enabled):
    network = nn.Sequential(nn.Conv2d(3, 4, 3), trained_layer(4, NormalizerPair(BN, BN)))
    before = gc.isenabled()
    (gc.enable if enabled else gc.disable)()
    try:
        prune(network.eval(), torch.randn(2, 3, 8, 8))
        assert gc.isenabled() == enabled
    finally:
        (gc.enable if before else gc.disable)()
