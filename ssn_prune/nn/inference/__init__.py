"""Concrete normalizers: what a switchable layer becomes once its gates are one-hot.

Equal pairs are torch's own layers where these are exact; the centring layers are what is left when
a scale has been folded into the preceding convolution. Everything else is a :class:`MomentNorm`.

As with torch's layers, the class names give the number of spatial axes; 1d also takes (N, C). Where
the switchable layer has no affine parameters, its concrete form has none either. No layer asks
whether it is being exported: forms that only suit a file are passes in
:mod:`ssn_prune.onnx_export.passes`.
"""

from ssn_prune.nn.inference.group_norm import GroupNorm
from ssn_prune.nn.inference.instance_centre import (
    InstanceCentre,
    InstanceCentre1d,
    InstanceCentre2d,
    InstanceCentre3d,
)
from ssn_prune.nn.inference.instance_norm import (
    InstanceNorm,
    InstanceNorm1d,
    InstanceNorm2d,
    InstanceNorm3d,
)
from ssn_prune.nn.inference.layer_centre import (
    LayerCentre,
    LayerCentre1d,
    LayerCentre2d,
    LayerCentre3d,
)
from ssn_prune.nn.inference.moment_norm import (
    MomentNorm,
    MomentNorm1d,
    MomentNorm2d,
    MomentNorm3d,
)

__all__ = [
    "GroupNorm",
    "InstanceCentre",
    "InstanceCentre1d",
    "InstanceCentre2d",
    "InstanceCentre3d",
    "InstanceNorm",
    "InstanceNorm1d",
    "InstanceNorm2d",
    "InstanceNorm3d",
    "LayerCentre",
    "LayerCentre1d",
    "LayerCentre2d",
    "LayerCentre3d",
    "MomentNorm",
    "MomentNorm1d",
    "MomentNorm2d",
    "MomentNorm3d",
]
