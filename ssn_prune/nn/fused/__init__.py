"""The switchable normalizer in training on a GPU, fused: six Triton kernel launches per step.

========= =========================== ============ ============
launch    kernel                      reads        writes
========= =========================== ============ ============
forward   ``plane_moments``           x            (N, C)
forward   ``pool``, with the gates    (N, C)       (N, C)
forward   ``normalize``               x            y
backward  ``gradient_sums``           x, gradient  (N, C)
backward  ``pool_gradients``          (N, C)       (N, C)
backward  ``input_gradient``          x, gradient  gradient
========= =========================== ============ ============

BatchNorm reads and writes as much. A lane sums over positions in float32. What follows is float64,
except that the sums of the gradient are stored in float32.

Under ``torch.compile`` the reductions and the (N, C) part are two operators, and scale and shift
are left to the compiler (:mod:`ssn_prune.nn.fused.traced`). Evaluation, export, float64 and other
devices use :mod:`ssn_prune.nn.functional`, and so does a layer whose tensors are not contiguous or
on another device. Triton comes with torch where torch has CUDA; it is imported at the first use.
"""

from ssn_prune.nn.fused.availability import runs_fused, runs_operators, take
from ssn_prune.nn.fused.devices import runs_on
from ssn_prune.nn.fused.gate_inputs import GateInputs, GateKind
from ssn_prune.nn.fused.running_statistics import RunningStatistics

__all__ = [
    "GateInputs",
    "GateKind",
    "RunningStatistics",
    "runs_fused",
    "runs_on",
    "runs_operators",
    "take",
]
