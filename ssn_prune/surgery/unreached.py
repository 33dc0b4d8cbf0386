"""Layers of another implementation that the example inputs do not reach.

There are no real activations to compare them on, so noise has to do. A layer that does not run on
noise either is not compared at all.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from typing import Any

from torch import nn

from ssn_prune.surgery.adoption_errors import layer_differs, layer_not_reached
from ssn_prune.surgery.from_reference import foreign_layers
from ssn_prune.surgery.probing import error_on_noise


@dataclass(frozen=True)
class Unreached:
    """Paths of the layers that were not called.

    Attributes:
        on_noise: Those that agree on noise.
        not_compared: Those about which nothing is known.
    """

    on_noise: tuple[str, ...]
    not_compared: tuple[str, ...]


def compare_unreached(
    given: nn.Module,
    adopted: nn.Module,
    reached: Collection[str],
    tolerance: float,
    *,
    allow_unverified: bool,
) -> Unreached:
    """Compare, on noise, the layers that were not called.

    Args:
        given: The network as it was built and loaded; not changed.
        adopted: The network with layers of ssn_prune; not changed.
        reached: Paths of the layers that were called.
        tolerance: Largest error in float64, relative to scale.
        allow_unverified: Accept layers about which nothing is known.

    Raises:
        UnsupportedLayerError: A layer differs, or nothing is known about it and that is not
            accepted.
    """
    on_noise: list[str] = []
    not_compared: list[str] = []
    for name in foreign_layers(given):
        if name in reached:
            continue
        layer: Any = adopted.get_submodule(name)
        error = error_on_noise(given.get_submodule(name), layer)
        if error is not None and not error <= tolerance:
            raise layer_differs(given, name, error, tolerance, "float64", None)
        if error is None and not allow_unverified:
            raise layer_not_reached(given, name)
        (not_compared if error is None else on_noise).append(name)
    return Unreached(tuple(on_noise), tuple(not_compared))
