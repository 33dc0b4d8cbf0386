"""A constant into the dead bias of the convolution that precedes IN/IN.

For a convolution y = W * x + b:

==========  ==========  ==========  =============
mean / var  W becomes   b becomes   what is left
==========  ==========  ==========  =============
IN / IN     W           b - c       instance norm
==========  ==========  ==========  =============

An IN mean cancels any constant, so the bias is dead and any c may be subtracted. c is chosen to
centre the channel (``pruning/centring.py``), because runtimes sum a nearly constant channel with a
large mean inaccurately. It costs nothing at run time.
"""

from __future__ import annotations

from ssn_prune.nn.switchable import SwitchableNorm
from ssn_prune.pruning.folds.context import Candidate, FoldContext
from ssn_prune.pruning.folds.edited_kernel import EditedKernel
from ssn_prune.pruning.folds.kernel import fold_into_preceding, preceding_kernel
from ssn_prune.pruning.folds.kernel_arithmetic import folded_bias
from ssn_prune.pruning.forms.parameters import centring_constants
from ssn_prune.pruning.plan import Fold, LayerPlan, Refusal
from ssn_prune.pruning.static_norm import Affine

CODE = "centring"


def check(context: FoldContext, layer: Candidate) -> Fold | Refusal:
    """Whether there is a bias to put the constant into."""
    kernel = preceding_kernel(context, layer)
    if isinstance(kernel, Refusal):
        return kernel
    return fold_into_preceding(context, layer, kernel, code=CODE, leaves=layer.form)


def apply(layer: LayerPlan, norm: SwitchableNorm, affine: Affine, kernel: EditedKernel) -> None:
    """Set the bias, in place."""
    del affine
    constants = centring_constants(layer, kernel.weight)
    mean = norm.running_mean if constants is None else constants
    kernel.set_bias(folded_bias(kernel.bias, mean=mean, shift=None))
