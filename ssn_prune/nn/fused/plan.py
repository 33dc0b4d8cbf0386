"""The launches of one layer at one size: grids, tiles, and what is known of the layer."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import torch
from torch import Tensor

from ssn_prune.nn._algebra import NormSettings
from ssn_prune.nn.fused.layout import WARPS, PlaneLayout, plane_layout, power_of_two
from ssn_prune.nn.variance_kind import FROM_PLANES, OWN_COUNT
from ssn_prune.normalizer import Normalizer

# Tiles of the kernels that pool (N, C) values over the samples and over the channels.
_BATCH_TILE, _BATCH_COLUMNS = 512, 4
_LAYER_TILE, _LAYER_ROWS = 512, 2


@dataclass(frozen=True)
class FusedPlan:
    """What the launches need beside tensors.

    Attributes:
        layout: The division of x.
        positions: M.
        passes: That division, as the kernels take it that reduce x.
        maps: The same, for those that map x.
        pooled: Which pooled statistics there are, and of which kind.
        statistics: The same, and whether IN takes part.
        choices: Which normalizer each logit stands for.
        pooling: Tiles of the kernels that pool.
        from_planes: Whether all variances follow from corrected plane variances.
        programs: Of the kernels that pool: along the channels, and along the samples if LN takes
            part.
    """

    layout: PlaneLayout
    positions: int
    passes: dict[str, int]
    maps: dict[str, int]
    pooled: dict[str, bool]
    statistics: dict[str, bool]
    choices: dict[str, int]
    pooling: dict[str, int]
    from_planes: bool
    programs: int

    @property
    def reducing(self) -> tuple[int, int]:
        """The grid of the kernels that reduce x."""
        return self.layout.rows, self.layout.parts

    @property
    def mapping(self) -> tuple[int, int]:
        """The grid of the kernels that map x."""
        return self.layout.rows, self.layout.pieces


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
    layout = plane_layout(sizes, channels_last=channels_last, multiprocessors=multiprocessors)
    columns, rows = min(power_of_two(c), _BATCH_COLUMNS), min(power_of_two(n), _LAYER_ROWS)
    passes = {
        "CHANNELS_LAST": channels_last,
        "BLOCK_C": layout.block_channels,
        "BLOCK_M": layout.block_positions,
        "num_warps": WARPS,
    }
    pooled = {
        "OWN_COUNT": correction == OWN_COUNT,
        "HAS_LN": Normalizer.LN in offered,
        "HAS_BN": Normalizer.BN in offered,
    }
    return FusedPlan(
        layout,
        positions,
        passes=passes,
        maps={"LANES": layout.lanes, **passes},
        pooled=pooled,
        statistics={"HAS_IN": Normalizer.IN in offered, **pooled},
        choices={
            "FIRST": int(offered[0]),
            "SECOND": int(offered[min(1, len(offered) - 1)]),
            "K": len(offered),
        },
        pooling={
            "BATCH_ROWS": min(power_of_two(n // groups), _BATCH_TILE // columns),
            "BATCH_COLUMNS": columns,
            "LAYER_ROWS": rows,
            "LAYER_COLUMNS": min(power_of_two(c), _LAYER_TILE // rows),
        },
        from_planes=correction == FROM_PLANES,
        programs=-(-c // columns) + (-(-n // rows) if Normalizer.LN in offered else 0),
    )
