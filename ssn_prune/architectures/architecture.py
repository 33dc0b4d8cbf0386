"""What is known about a network that can be named."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from torch import nn

from ssn_prune.architectures.usual_preprocessing import UsualPreprocessing


@dataclass(frozen=True)
class Architecture:
    """A network that can be named, as a checkpoint or ``arch=`` does.

    A package registers one as an entry point of the group ``ssn_prune.architectures``, under the
    name that it is to have (docs/extending.md).

    Attributes:
        name: Its name as the user or the checkpoint wrote it.
        build: Builds it; takes keyword arguments. If ``num_classes`` is one of them, it is inferred
            from the checkpoint.
        input_size: Its usual (C, H, W) or (C, D, H, W); None if unknown.
        named_correction: The kind of variance that the name implies; None if it implies none.
        takes_correction: Whether the builder takes ``correction``; a user's factory need not.
        swaps_norms: Whether the builder swaps the norms of a known network, and so takes the
            arguments ``kind`` and ``normalizers`` of :func:`convert_to_ssn`.
        inputs: Number of inputs.
        given: Whether the network is the user's own code, with layers of any kind.
        preprocessing: How its images are usually prepared; None if unknown.
    """

    name: str
    build: Callable[..., nn.Module]
    input_size: tuple[int, ...] | None = None
    named_correction: int | None = None
    takes_correction: bool = True
    swaps_norms: bool = False
    inputs: int = 1
    given: bool = False
    preprocessing: UsualPreprocessing | None = None
