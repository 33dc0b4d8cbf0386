"""NaN in the outputs of the original network, with which nothing can be compared.

Such a network is refused by name, since a comparison would blame the converted one. Infinities are
ordinary values: attention masks and scores of impossible classes are made of them.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from torch import Tensor

from ssn_prune.errors import VerificationError
from ssn_prune.surgery.nested import undefined_entries


def require_defined(outputs: Sequence[Tensor], layers: Mapping[str, str] | None = None) -> None:
    """Refuse a reference that gives NaN.

    Args:
        outputs: Its outputs.
        layers: Switchable layers that give NaN, each with where it is, in the order of their calls.

    Raises:
        VerificationError: The reference gives NaN; the first layer or the output is named.
    """
    layer = next(iter(layers or {}), None)
    where = undefined_entries(outputs)
    if layer is not None:
        where = f"{layer}, {(layers or {})[layer]}"
    if where is None:
        return
    raise VerificationError(
        f"the original network gives NaN at {where}, so nothing can be compared with it",
        layer=layer,
        expected="numbers or infinities from the network that is converted",
        found=f"NaN at {where}, before anything was replaced",
        hint="look in the network for 0 / 0, inf - inf, or the root or logarithm of a negative "
        "number; to `prune` and `verify`, pass inputs for which it gives numbers",
    )
