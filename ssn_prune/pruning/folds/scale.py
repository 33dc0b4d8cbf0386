r"""The scale of a BN variance into the preceding convolution, where the mean depends on the input.

For a convolution y = W * x + b, with
:math:`s = w / \sqrt{\mathrm{running\_var} + \epsilon}`:

==========  ==========  ===========  ==========================================
mean / var  W becomes   b becomes    what is left
==========  ==========  ===========  ==========================================
IN / BN     s W         (b - c) s    y - mean_in(y) + beta
LN / BN     s W         s b          y - s sum_c mean_in(y_c) / (C s_c) + beta
==========  ==========  ===========  ==========================================

An IN mean cancels any constant, so any c may be subtracted; see ``pruning/centring.py``. What is
left of LN / BN undoes the scale, so no scale may be zero.
"""

from __future__ import annotations

import torch
from torch import Tensor

from ssn_prune.nn.switchable import SwitchableNorm
from ssn_prune.normalizer import Normalizer
from ssn_prune.pruning.folds.absorbed import planned_affine
from ssn_prune.pruning.folds.context import Candidate, FoldContext
from ssn_prune.pruning.folds.edited_kernel import EditedKernel
from ssn_prune.pruning.folds.kernel import fold_into_preceding, preceding_kernel
from ssn_prune.pruning.folds.kernel_arithmetic import folded_bias
from ssn_prune.pruning.forms import instance_centre, layer_centre
from ssn_prune.pruning.forms.parameters import centring_constants
from ssn_prune.pruning.plan import Fold, LayerPlan, Refusal, RefusalCode
from ssn_prune.pruning.static_norm import Affine, required_statistics, scale_of

CODE = "scale"


def check(context: FoldContext, layer: Candidate) -> Fold | Refusal:
    """Whether the fold is exact and the folded values are in range."""
    assert layer.pair is not None  # the table's condition
    kernel = preceding_kernel(context, layer, needs_bias=False)
    if isinstance(kernel, Refusal):
        return kernel
    scale = scale_of(layer.module, planned_affine(context, layer))
    undone = layer.pair.mean is Normalizer.LN
    if undone and not _can_be_undone(scale, context.ranges.dtype_of(kernel)):
        text = "a folded scale is zero or not a normal number, so it could not be undone"
        return Refusal(RefusalCode.SCALE_RANGE, text)
    mean, _ = required_statistics(layer.module)
    problem = context.ranges.fold_outputs(kernel, mean=mean, scale=scale)
    if problem is not None:
        return Refusal(RefusalCode.SCALE_RANGE, problem)
    leaves = layer_centre.CODE if undone else instance_centre.CODE
    return fold_into_preceding(context, layer, kernel, code=CODE, leaves=leaves)


def apply(layer: LayerPlan, norm: SwitchableNorm, affine: Affine, kernel: EditedKernel) -> None:
    """Scale the kernel and set the bias, in place."""
    assert layer.pair is not None  # weighted forms fold nothing
    mean = None
    if layer.pair.mean is Normalizer.IN and kernel.can_have_bias:
        constants = centring_constants(layer, kernel.weight)
        mean = required_statistics(norm)[0] if constants is None else constants
    scale = scale_of(norm, affine)
    kernel.set_bias(folded_bias(kernel.bias, mean=mean, scale=scale, shift=None))
    kernel.scale_outputs(scale)


def _can_be_undone(scale: Tensor, dtype: torch.dtype) -> bool:
    """Whether a scale can be folded and its inverse used afterwards."""
    inverse = 1 / (scale.numel() * scale)
    return _is_normal(scale, dtype) and _is_normal(inverse, dtype)


def _is_normal(values: Tensor, dtype: torch.dtype) -> bool:
    """Whether all values are finite normal numbers after a cast to ``dtype`` (zero is not one)."""
    info = torch.finfo(dtype)
    magnitude = values.double().abs()
    return bool(((magnitude >= info.tiny) & (magnitude <= info.max)).all())
