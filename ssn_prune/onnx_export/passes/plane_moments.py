"""OpenCV: InstanceNormalization of planes, written out.

OpenCV 4 computes its variance as mean(x^2) - mean(x)^2, which suffers from cancellation: with a
mean of 10 deviations the output of OpenCV 4.14 is off by 3e-4
(``benchmarks/research/norm_sums.py``).
"""

from __future__ import annotations

import onnx_ir as ir

from ssn_prune.onnx_export.passes.instance_moments import is_norm_of, write_out


def rewrite(graph: ir.Graph, node: ir.Node) -> bool:
    """Write the node out, if it normalizes planes."""
    return is_norm_of(node, 4) and write_out(graph, node)
