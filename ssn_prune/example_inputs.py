"""Inputs for pruning, exporting and verifying a loaded network."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from ssn_prune.checkpoint.input_size import takes_vectors
from ssn_prune.checkpoint.loading import LoadedCheckpoint
from ssn_prune.errors import ArgumentError

BATCH_SIZES = (1, 2, 3)
FIXED_BATCHES = 4
"""Number of calls that a file for one batch size is verified with."""


def random_batches(
    shapes: Sequence[tuple[int, ...]], batch_sizes: Sequence[int], seed: int = 0
) -> list[tuple[Tensor, ...]]:
    """Standard normal inputs, the same at every call: float32 on the CPU.

    Args:
        shapes: Shape of each input without the batch axis.
        batch_sizes: One call per entry.
        seed: Seed of the generator.
    """
    generator = torch.Generator("cpu").manual_seed(seed)
    return [tuple(_noise((size, *shape), generator) for shape in shapes) for size in batch_sizes]


def _noise(shape: tuple[int, ...], generator: torch.Generator) -> Tensor:
    return torch.randn(shape, generator=generator, dtype=torch.float32, device="cpu")


@dataclass(frozen=True)
class ExampleInputs:
    """Standard normal inputs of a loaded network, the same for the same network.

    Attributes:
        pruning: Inputs of one call. Two samples show what is mixed between samples; a network that
            takes a list of images gets one image.
        export: Inputs of one call, with the batch size of the file if that is fixed.
        verification: Inputs of several calls.
    """

    pruning: tuple[Any, ...]
    export: tuple[Any, ...]
    verification: list[tuple[Any, ...]]


def example_inputs(loaded: LoadedCheckpoint, fixed_batch: int | None) -> ExampleInputs:
    """Make the inputs of a conversion.

    Args:
        loaded: The network.
        fixed_batch: Batch size of the file; None if it is dynamic.

    Raises:
        ArgumentError: The input size is not known.
    """
    if loaded.takes_images:
        fixed_batch = fixed_batch or 1
    sizes = (fixed_batch,) * FIXED_BATCHES if fixed_batch is not None else BATCH_SIZES
    return ExampleInputs(
        pruning=example_batches(loaded, [1 if loaded.takes_images else 2])[0],
        export=example_batches(loaded, [2 if fixed_batch is None else fixed_batch])[0],
        verification=example_batches(loaded, sizes),
    )


def example_batches(loaded: LoadedCheckpoint, batch_sizes: Sequence[int]) -> list[tuple[Any, ...]]:
    """Standard normal inputs at given batch sizes.

    A network that takes a list of images gets one list of that many images per call.

    Raises:
        ArgumentError: The input size is not known.
    """
    batches = random_batches([require_input_size(loaded), *loaded.more_inputs], batch_sizes)
    if not loaded.takes_images:
        return list(batches)
    return [(list(batch[0].unbind()),) for batch in batches]


def require_input_size(loaded: LoadedCheckpoint) -> tuple[int, ...]:
    """The input size of a loaded checkpoint.

    Raises:
        ArgumentError: It is not known.
    """
    if loaded.input_size is None:
        vectors = takes_vectors(loaded.model)
        raise ArgumentError(
            f"the input size of {loaded.source.arch} is not known",
            expected="`input_size=`, as (H, W) or (C, H, W), or (C,) for feature vectors",
            found="a network of your own without the attribute input_size",
            hint=f"for example `input_size={(64,) if vectors else (3, 224, 224)}`",
        )
    return loaded.input_size
