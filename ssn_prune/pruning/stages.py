"""The stages of a network: the parts that its layers belong to, by their paths.

The stage of a layer is the first component of its path: ``layer1`` of ``layer1.0.sn2``. A stage
that holds more than half of all layers says little, so it is divided by the next component, such as
``features`` of a MobileNet into ``features.0`` to ``features.18``.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence


def stages_of(names: Sequence[str]) -> list[str]:
    """The stage of each layer.

    Args:
        names: Paths of the layers.
    """
    paths = [name.split(".") for name in names]
    # The last component is the layer itself, unless it is all there is.
    longest = [max(1, len(path) - 1) for path in paths]
    lengths = [1] * len(paths)
    while True:
        stages = [".".join(path[:n]) for path, n in zip(paths, lengths, strict=True)]
        sizes = Counter(stages)
        grown = [
            min(n + 1, most) if 2 * sizes[stage] > len(paths) else n
            for n, most, stage in zip(lengths, longest, stages, strict=True)
        ]
        if grown == lengths:
            return stages
        lengths = grown
