"""The launches of one layer at one size: grids, tiles, and what is known about the layer."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import torch
from torch import Tensor

from ssn_prune.nn._algebra import NormSettings
from ssn_prune.nn.fused.layout import (
    MAPPING_WARPS,
    REDUCING_WARPS,
    mapping_tiles,
    power_of_two,
    reducing_tiles,
)
from ssn_prune.nn.variance_kind import FROM_PLANES, OWN_COUNT
from ssn_prune.normalizer import Normalizer

# Entries and widths of the tiles of (N, C) values that are pooled over samples and over channels.
_POOLED, _BATCH_COLUMNS, _LAYER_ROWS = 512, 2, 1


@dataclass(frozen=True)
class FusedPlan:
    """What the launches need besides tensors.

    Attributes:
        positions: M.
        reducing: The grid of the kernels that reduce x.
        reduction: Their compile-time arguments.
        mapping: The grid of the kernels that map x.
        map: Their compile-time arguments.
        pooled: Which pooled statistics there are, and of which kind.
        statistics: The same, and whether IN is offered.
        choices: Which normalizer each logit stands for.
        pooling: Tiles of the kernels that pool.
        from_planes: Whether all variances follow from corrected plane variances.
        programs: Number of programs of the kernels that pool: along the channels, and along the
            samples if LN is offered.
    """

    positions: int
    reducing: tuple[int, int]
    reduction: dict[str, int]
    mapping: tuple[int, int]
    map: dict[str, int]
    pooled: dict[str, bool]
    statistics: dict[str, bool]
    choices: dict[str, int]
    pooling: dict[str, int]
    from_planes: bool
    programs: int

    @property
    def parts(self) -> int:
        """Number of parts of a plane that are reduced separately."""
        return self.reducing[1]


def plan_for(x: Tensor, settings: NormSettings) -> FusedPlan:
    """The plan for a dense tensor, (N, C, ...)."""
    n, c = x.shape[:2]
    return _plan(
        (n, c, x.numel() // (n * c)),
        not x.is_contiguous(),
        x.device,
        settings.normalizers,
        settings.correction,
        settings.groups,
    )


@lru_cache(maxsize=512)
def _plan(
    sizes: tuple[int, int, int],
    channels_last: bool,
    device: torch.device,
    offered: tuple[Normalizer, ...],
    correction: int,
    groups: int,
) -> FusedPlan:
    n, c, positions = sizes
    multiprocessors = 1
    if device.type == "cuda":
        multiprocessors = torch.cuda.get_device_properties(device).multi_processor_count
    reducing, mapping = (
        tiles(sizes, channels_last=channels_last, multiprocessors=multiprocessors)
        for tiles in (reducing_tiles, mapping_tiles)
    )
    columns, rows = min(power_of_two(c), _BATCH_COLUMNS), min(power_of_two(n), _LAYER_ROWS)
    pooled = {
        "OWN_COUNT": correction == OWN_COUNT,
        "HAS_LN": Normalizer.LN in offered,
        "HAS_BN": Normalizer.BN in offered,
    }
    return FusedPlan(
        positions,
        (reducing.rows, reducing.parts),
        {
            "CHANNELS_LAST": channels_last,
            "BLOCK_C": reducing.channels,
            "BLOCK_M": reducing.positions,
            "num_warps": REDUCING_WARPS,
        },
        (mapping.rows, mapping.parts),
        {
            "CHANNELS_LAST": channels_last,
            "BLOCK_C": mapping.channels,
            "BLOCK_M": mapping.positions,
            "LANES": mapping.lanes,
            "num_warps": MAPPING_WARPS,
        },
        pooled=pooled,
        statistics={"HAS_IN": Normalizer.IN in offered, **pooled},
        choices={
            "FIRST": int(offered[0]),
            "SECOND": int(offered[min(1, len(offered) - 1)]),
            "K": len(offered),
        },
        pooling={
            "BATCH_ROWS": min(power_of_two(n // groups), _POOLED // columns),
            "BATCH_COLUMNS": columns,
            "LAYER_ROWS": rows,
            "LAYER_COLUMNS": min(power_of_two(c), _POOLED // rows),
        },
        from_planes=correction == FROM_PLANES,
        programs=-(-c // columns) + (-(-n // rows) if Normalizer.LN in offered else 0),
    )
