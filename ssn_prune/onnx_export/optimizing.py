"""Constant folding and rewriting of a translated graph, with onnxscript's passes and rules.

``torch.onnx.export(optimize=True)`` runs the same ones (and fusions of attention), but tries all of
its rules at every node, also where a graph has no operator that a rule is about, and one of them
against every other node: a quarter of the translation of a ResNet-152, growing with the square of
the nodes.
"""

from __future__ import annotations

import onnx_ir as ir
from onnx_ir.passes import common as passes
from onnxscript.optimizer import fold_constants
from onnxscript.rewriter import RewritePass, RewriteRule
from onnxscript.rewriter.rules import common as rules

ROUNDS = 2
"""One rewriting may make room for another."""


def optimize(model: ir.Model) -> None:
    """Fold constants, drop what has no effect and unite what is equal, in place.

    Args:
        model: As translated from a captured program.
    """
    passes.InlinePass()(model)
    for _ in range(ROUNDS):
        changed = bool(fold_constants(model, onnx_shape_inference=True))
        passes.RemoveUnusedNodesPass()(model)
        wanted = _rules_for({node.op_type for node in model.graph.all_nodes()})
        if wanted:
            changed |= bool(RewritePass(wanted)(model).modified)
        passes.RemoveUnusedNodesPass()(model)
        if not changed:
            break
    for finish in (
        passes.RemoveUnusedOpsetsPass(),
        passes.LiftConstantsToInitializersPass(lift_all_constants=True, size_limit=0),
        passes.LiftSubgraphInitializersToMainGraphPass(),
        passes.DeduplicateInitializersPass(),
        passes.CommonSubexpressionEliminationPass(),
        passes.OutputFixPass(),
        passes.NameFixPass(),
    ):
        finish(model)


def _rules_for(operators: set[str]) -> list[RewriteRule]:
    """The rules whose patterns can occur among these operators."""
    return [rule for needed, group in _rules() if needed <= operators for rule in group]


def _rules() -> tuple[tuple[set[str], tuple[RewriteRule, ...]], ...]:
    """Operators that a pattern consists of, and its rules."""
    return (
        ({"Mul"}, tuple(rules.mul_by_1_rule.commute())),
        ({"Add"}, tuple(rules.add_0_rule.commute())),
        ({"Sub"}, (rules.sub_0_rule,)),
        ({"Div"}, (rules.div_by_1_rule,)),
        ({"Dropout"}, (rules.dropout_zero_rule, rules.dropout_inference_rule)),
        (
            {"Reshape", "MatMul"},
            (rules.two_reshapes_matmul_reshape_rule, rules.one_reshape_matmul_reshape_rule),
        ),
        (
            {"ConstantOfShape", "Cast"},
            (rules.cast_constant_of_shape_rule, rules.cast_constant_of_shape_without_value_rule),
        ),
        (
            {"Slice"},
            (rules.collapse_slice_rule, rules.collapse_slice2_rule, rules.slice_split_rule),
        ),
        ({"Reshape"}, (rules.materialize_reshape_shape_rule, rules.reshape_reshape_rule)),
        ({"Min"}, (rules.min_min_rule,)),
        ({"Max"}, (rules.max_max_rule,)),
        ({"Min", "Max"}, (rules.min_max_rule, rules.max_min_rule)),
        ({"Clip", "Relu"}, (rules.successive_clip_relu_rule, rules.successive_relu_clip_rule)),
        ({"Relu"}, (rules.successive_relu_rule,)),
        ({"Clip"}, (rules.successive_clip_rule,)),
        ({"Cast"}, (rules.cast_cast_rule, rules.no_op_cast_rule)),
        ({"Expand"}, (rules.no_op_expand_rule,)),
        ({"Flatten"}, (rules.flatten_to_reshape_rule,)),
        ({"Transpose"}, (rules.no_op_transpose_rule, rules.transpose_transpose_rule)),
        ({"Unsqueeze"}, (rules.unsqueeze_unsqueeze_rule,)),
        ({"Squeeze", "Reshape"}, (rules.squeeze_reshape_1d_rule,)),
        ({"ScatterND"}, (rules.no_op_dynamic_scatter_nd_rule, rules.no_op_static_scatter_nd_rule)),
        (
            {"Conv"},
            (rules.normalize_pad_format_conv_rule, rules.remove_optional_bias_from_conv_rule),
        ),
        ({"Conv", "Pad"}, (rules.fuse_pad_into_conv_rule,)),
        ({"ConvTranspose"}, (rules.remove_optional_bias_from_conv_transpose_rule,)),
        ({"Gemm"}, (rules.remove_optional_bias_from_gemm_rule,)),
        ({"Conv", "BatchNormalization"}, (rules.fuse_batchnorm_into_conv_rule,)),
        (
            {"ConvTranspose", "BatchNormalization"},
            (rules.fuse_batchnorm_into_conv_transpose_rule,),
        ),
        ({"Gemm", "BatchNormalization"}, (rules.fuse_batchnorm_into_gemm_rule,)),
    )
