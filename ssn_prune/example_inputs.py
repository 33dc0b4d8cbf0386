"""Inputs for a loaded network: to capture it with, and to verify it with."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch.utils import _pytree as pytree

from ssn_prune.checkpoint.loading import LoadedCheckpoint
from ssn_prune.errors import ArgumentError
from ssn_prune.onnx_export.dynamic_axes import accepted_sizes, fixed_size_error
from ssn_prune.onnx_export.exporter import Dynamic
from ssn_prune.pruning.prune import PruneResult
from ssn_prune.verification.verify import BATCH_SIZES, random_batches

OTHER_SIZES = 3
"""So many other spatial sizes are verified where these are open."""


def require_input_size(loaded: LoadedCheckpoint) -> tuple[int, ...]:
    """The input size of a loaded checkpoint.

    Raises:
        ArgumentError: It is not known.
    """
    if loaded.input_size is None:
        raise ArgumentError(
            f"the input size of {loaded.source.arch} is not known",
            expected="`input_size=`, as (H, W) or (C, H, W)",
            found="a network of your own without the attribute input_size",
            hint="for example `input_size=(3, 224, 224)`",
        )
    return loaded.input_size


def example_batches(loaded: LoadedCheckpoint, batch_sizes: Sequence[int]) -> list[tuple[Any, ...]]:
    """Standard normal inputs of a loaded network, the same at every call.

    A network that takes images gets one list of so many images per call.
    """
    sizes = [require_input_size(loaded), *loaded.more_inputs]
    batches = random_batches(sizes, batch_sizes)
    if not loaded.takes_images:
        return list(batches)
    return [(list(batch[0].unbind()),) for batch in batches]


def verification_batches(
    result: PruneResult, loaded: LoadedCheckpoint, dynamic: Dynamic, static_batch: int | None
) -> list[tuple[Any, ...]]:
    """Inputs at several batch sizes, and at several spatial sizes if these are open.

    Args:
        result: The pruned network.
        loaded: What it was loaded from.
        dynamic: Which sizes are open.
        static_batch: A fixed batch size.

    Raises:
        ExportError: Spatial sizes are to be open, but the network accepts one only.
    """
    fixed = dynamic == "none" or loaded.takes_images
    sizes = (static_batch or 1,) * 4 if fixed else BATCH_SIZES
    batches = example_batches(loaded, sizes)
    if dynamic == "spatial":
        others = accepted_sizes(result.original, batches[0], result.guards)
        if not others:
            raise fixed_size_error(result.guards)
        generator = torch.Generator().manual_seed(1)
        batches += [
            pytree.tree_map(lambda x: torch.randn(x.shape, generator=generator), other)
            for other in others[:OTHER_SIZES]
        ]
    return batches
