"""The switchable normalizer in training on a GPU, fused: six launches of Triton kernels a step.

========= ============================== =========================================== ============
launch    kernel                         reads                                       writes
========= ============================== =========================================== ============
forward   ``plane_moments``              x                                           (N, C) 
forward   ``pool``                       (N, C) , the gates                          (N, C) 
forward   ``normalize``                  x                                           y
backward  ``gradient_sums``              x, gradient                                 (N, C) 
backward  ``pool_gradients``             (N, C)                                      (N, C) 
backward  ``input_gradient``             x, gradient                                 gradient
========= ============================== =========================================== ============

That is what BatchNorm reads and writes. Sums over positions are float32, the rest is float64. Triton
comes with torch where torch has CUDA; it is imported at the first use.
"""

from ssn_prune.nn.fused.availability import runs_fused
from ssn_prune.nn.fused.gate_inputs import GateInputs

__all__ = ["GateInputs", "runs_fused"]
