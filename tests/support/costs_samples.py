"""Made-up costs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from ssn_prune.costs.records import FREE, SCHEMA_VERSION, Costs, LayerPairCost, LayerShapes
from ssn_prune.normalizer import ALL_PAIRS, NormalizerPair


def cheap_costs(
    layers: Sequence[str],
    table: Mapping[NormalizerPair, float] | None = None,
    *,
    channels: int = 4,
    norm_free: float | None = 10.0,
) -> Costs:
    """Costs of all pairs at every layer: 1, 2, ... ms in their order, or those of a table."""
    table = table or {pair: 1.0 + index for index, pair in enumerate(ALL_PAIRS)}
    return Costs(
        schema_version=SCHEMA_VERSION,
        date="2026-01-01T00:00:00+00:00",
        runtime="ONNX Runtime 1.30.0",
        processor="abacus",
        provider="CPUExecutionProvider",
        threads=1,
        batch=1,
        target="portable",
        input_sizes=((1, 8, 8),),
        norm_free_ms=norm_free,
        shapes=tuple(LayerShapes(name, ((1, channels, 8, 8),)) for name in layers),
        layers=tuple(
            LayerPairCost(name, pair, 0.0 if pair == FREE else ms)
            for name in layers
            for pair, ms in table.items()
        ),
    )
