"""A BN mean into the bias of the preceding convolution, where the variance depends on the input.

For a convolution y = W * x + b:

==========  ==========  ====================  ====================================================
mean / var  W becomes   b becomes             what is left
==========  ==========  ====================  ====================================================
BN / IN     W           b - running_mean      the variance and one scale
BN / LN     W           b - running_mean      the variance (with the mean added back) and one scale
==========  ==========  ====================  ====================================================

Where a channel's inputs are so far from the running mean that their variance would lose accuracy,
another constant takes its place; see ``pruning/centring.py``. The layer subtracts the rest.
"""

from __future__ import annotations

from ssn_prune.nn.switchable import SwitchableNorm
from ssn_prune.pruning.folds.context import Candidate, FoldContext
from ssn_prune.pruning.folds.edited_kernel import EditedKernel
from ssn_prune.pruning.folds.kernel import fold_into_preceding, preceding_kernel
from ssn_prune.pruning.folds.kernel_arithmetic import folded_bias
from ssn_prune.pruning.forms import moments
from ssn_prune.pruning.forms.parameters import subtracted_mean
from ssn_prune.pruning.plan import Fold, LayerPlan, Refusal, RefusalCode
from ssn_prune.pruning.static_norm import Affine, required_statistics

CODE = "running_mean"


def check(context: FoldContext, layer: Candidate) -> Fold | Refusal:
    """Whether the fold is exact and the folded bias is in range."""
    kernel = preceding_kernel(context, layer)
    if isinstance(kernel, Refusal):
        return kernel
    mean, _ = required_statistics(layer.module)
    problem = context.ranges.fold_outputs(kernel, mean=mean)
    if problem is not None:
        return Refusal(RefusalCode.SCALE_RANGE, problem)
    return fold_into_preceding(context, layer, kernel, code=CODE, leaves=moments.CODE)


def apply(layer: LayerPlan, norm: SwitchableNorm, affine: Affine, kernel: EditedKernel) -> None:
    """Set the bias, in place."""
    del affine
    kernel.set_bias(folded_bias(kernel.bias, mean=subtracted_mean(layer, norm), shift=None))
