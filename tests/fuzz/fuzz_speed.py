"""Prune many small networks quickly.

Nine tenths of the time of a prune go into torch.export: to capture with dynamic sizes, and to count
operators for the report. A graph that is not checked ``thoroughly`` is captured only once, with
fixed sizes, for all its prunes, and no operators are counted. The network is not run to check that
it is a function of its input, nor to compare outputs, since the fuzzer has its own reference. The
decisions and the rewrite, which are what the fuzzer tests, run every time.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import Any
from unittest import mock

from torch import nn

from ssn_prune.pruning import prune as pruning
from ssn_prune.pruning import reporting
from ssn_prune.pruning.capture import capture
from ssn_prune.surgery.results import AdoptionCheck

THOROUGH_EVERY = 25
OWN_LAYERS = AdoptionCheck(False, "own_layers")


@contextlib.contextmanager
def quick_prunes() -> Iterator[None]:
    """Speed up pruning; meanwhile all prunes must be of one network and one kind of input."""
    known: list[Any] = []
    original = pruning.capture

    def captured_once(model: nn.Module, inputs: tuple[Any, ...], **options: bool) -> Any:
        if not known:
            known.append(original(model, inputs, **options))
        return known[0]

    with (
        mock.patch.object(pruning, "capture", captured_once),
        mock.patch.object(capture, "dynamic_shapes", return_value=None),
        mock.patch.object(reporting, "operators_before", return_value=None),
        mock.patch.object(pruning, "check_reference", return_value=OWN_LAYERS),
        mock.patch.object(pruning, "require_same_outputs"),
    ):
        yield
