r"""BN/BN into the input channels of the following convolution.

The layer is the map x s + t per channel (``pruning/static_norm.py``). For a following convolution
y = W * x + b without zero padding:

==========  ===============  =============
W becomes   b becomes        what is left
==========  ===============  =============
W s         b + sum_c W t    nothing
==========  ===============  =============

Reflected, replicated and circular padding repeat entries, so they commute with the map; zeros would
have to become -t / s. The borders of a transposed convolution get fewer terms of W t. Every
channel's mean must be within a few deviations of zero, because it now passes through the
convolution's sum and adds to its rounding error.
"""

from __future__ import annotations

from ssn_prune.nn.switchable import SwitchableNorm
from ssn_prune.pruning.capture.fx_utils import NETWORK_OUTPUT
from ssn_prune.pruning.capture.records import LayerCall
from ssn_prune.pruning.centring import NEARLY_CONSTANT
from ssn_prune.pruning.folds.absorbed import planned_affine
from ssn_prune.pruning.folds.context import Candidate, FoldContext
from ssn_prune.pruning.folds.edited_kernel import EditedKernel
from ssn_prune.pruning.folds.kernel import editable_kernel
from ssn_prune.pruning.folds.kernel_arithmetic import shifted_by_inputs
from ssn_prune.pruning.plan import IDENTITY, Fold, LayerPlan, Refusal, RefusalCode
from ssn_prune.pruning.static_norm import Affine, required_statistics, static_affine

CODE = "scale_and_shift_into_following"


def check(context: FoldContext, layer: Candidate) -> Fold | Refusal | None:
    """Whether the fold is exact and accurate; None where nothing follows."""
    calls = context.calls(layer.name)
    for call in calls:
        problem = _graph_problem(call, affines_go=layer.name in context.without_affines)
        if problem is not None:
            return Refusal(RefusalCode.FOLLOWING, problem)
    convs = [call.following_conv for call in calls if call.following_conv is not None]
    if len(convs) != len(calls):
        return None
    kernel = editable_kernel(context.network, context.captured, convs)
    if isinstance(kernel, Refusal):
        return Refusal(kernel.code, f"after it: {kernel.reason}")
    problem = _far_from_zero(layer.module)
    if problem is None:
        scale, shift = static_affine(layer.module, planned_affine(context, layer))
        problem = context.ranges.fold_inputs(kernel, scale=scale, shift=shift)
    if problem is not None:
        return Refusal(RefusalCode.SCALE_RANGE, problem)
    context.decisions[layer.name].exposed = False
    return Fold(CODE, kernel.weight.module, IDENTITY, kernel)


def apply(layer: LayerPlan, norm: SwitchableNorm, affine: Affine, kernel: EditedKernel) -> None:
    """Scale the kernel's inputs and set the bias, in place."""
    del layer
    scale, shift = static_affine(norm, affine)
    added = shifted_by_inputs(kernel.weight, shift, groups=kernel.groups)
    old = kernel.bias
    kernel.set_bias(added if old is None else added + old.double())
    kernel.scale_inputs(scale)


def _graph_problem(call: LayerCall, *, affines_go: bool) -> str | None:
    """Why a call does not allow the fold; also None where its output is the network's."""
    if call.affines and not affines_go:
        return f"it is followed by {call.affines[0].module}, which stays"
    if call.overwritten:
        return "its input is overwritten later, so its output has to be a copy"
    if call.following_conv is None:
        return None if call.consumer == NETWORK_OUTPUT else f"it is followed by {call.consumer}"
    if call.following_conv.transposed:
        return "the convolution after it is transposed: its borders get fewer terms"
    if call.following_conv.zero_padded:
        return "the convolution after it pads with zeros, which a shift would change"
    return None


def _far_from_zero(norm: SwitchableNorm) -> str | None:
    mean, var = required_statistics(norm)
    deviation = (var.double() + norm.eps).sqrt()
    if not bool((mean.double().abs() > NEARLY_CONSTANT * deviation).any()):
        return None
    return (
        "a channel's mean is many deviations from zero, so that its sums in the convolution after "
        "it would lose accuracy"
    )
