r"""BN/BN into the preceding convolution.

For a convolution y = W * x + b followed by BN/BN, with
:math:`s = w / \sqrt{\mathrm{running\_var} + \epsilon}`:

==========  =============================  ==================
W becomes   b becomes                      what is left
==========  =============================  ==================
s W         (b - running_mean) s + beta    nothing
==========  =============================  ==================
"""

from __future__ import annotations

from ssn_prune.nn.switchable import SwitchableNorm
from ssn_prune.pruning.folds.absorbed import planned_affine
from ssn_prune.pruning.folds.context import Candidate, FoldContext
from ssn_prune.pruning.folds.edited_kernel import EditedKernel
from ssn_prune.pruning.folds.kernel import fold_into_preceding, preceding_kernel
from ssn_prune.pruning.folds.kernel_arithmetic import folded_bias
from ssn_prune.pruning.plan import IDENTITY, Fold, LayerPlan, Refusal, RefusalCode
from ssn_prune.pruning.static_norm import Affine, required_statistics, scale_of

CODE = "scale_and_shift"


def check(context: FoldContext, layer: Candidate) -> Fold | Refusal:
    """Whether the fold is exact and the folded values are in range."""
    kernel = preceding_kernel(context, layer)
    if isinstance(kernel, Refusal):
        return kernel
    affine = planned_affine(context, layer)
    mean, _ = required_statistics(layer.module)
    scale = scale_of(layer.module, affine)
    problem = context.ranges.fold_outputs(kernel, mean=mean, scale=scale, shift=affine[1])
    if problem is not None:
        return Refusal(RefusalCode.SCALE_RANGE, problem)
    return fold_into_preceding(context, layer, kernel, code=CODE, leaves=IDENTITY)


def apply(layer: LayerPlan, norm: SwitchableNorm, affine: Affine, kernel: EditedKernel) -> None:
    """Scale the kernel and set the bias, in place."""
    del layer
    mean, _ = required_statistics(norm)
    scale = scale_of(norm, affine)
    kernel.set_bias(folded_bias(kernel.bias, mean=mean, scale=scale, shift=affine[1]))
    kernel.scale_outputs(scale)
