"""The faults that ``planted_bugs.py`` plants: one wrong line each."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Fault:
    """One fault.

    Attributes:
        name: What is wrong.
        file: Path inside the package.
        old: Text that stands there exactly once.
        new: What stands there instead.
        tests: Test files that should notice, tried first.
    """

    name: str
    file: str
    old: str
    new: str
    tests: tuple[str, ...]


_PAIRS = ("pruning/test_pair_forms.py",)
_CHAINS = ("pruning/test_fold_chains.py",)
_REFUSALS = ("pruning/test_fold_refusals.py",)
_DIMENSIONS = ("pruning/test_dimensions.py",)
_PARTS = ("pruning/test_partial_capture.py",)
_PASSES = ("onnx_export/passes/test_every_pair.py",)

FAULTS = (
    Fault(
        "eps forgotten in a folded scale",
        "pruning/folds/algebra.py",
        "(running_var.double() + eps).sqrt()",
        "running_var.double().sqrt()",
        _PAIRS,
    ),
    Fault(
        "group order of a transposed convolution",
        "pruning/folds/algebra.py",
        "scale.view(groups, 1, -1, *taps)",
        "scale.view(-1, groups).t().reshape(groups, 1, -1, *taps)",
        _DIMENSIONS + _PAIRS,
    ),
    Fault(
        "kernel scaled on the axis of its inputs",
        "pruning/folds/algebra.py",
        "scale.view(1, -1, 1, *taps)",
        "scale.view(1, 1, -1, *taps)",
        _PAIRS,
    ),
    Fault(
        "sign of the running mean in a folded bias",
        "pruning/folds/algebra.py",
        "total = total - mean.double()",
        "total = total + mean.double()",
        _PAIRS,
    ),
    Fault(
        "sign of the running mean in a static shift",
        "pruning/folds/algebra.py",
        "shift = -running_mean.double()",
        "shift = running_mean.double()",
        _CHAINS,
    ),
    Fault(
        "groups ignored in a fold forward",
        "pruning/folds/algebra.py",
        "factor = scale.view(groups, 1, -1,",
        "factor = scale[: kernel.shape[1]].view(1, 1, -1,",
        _CHAINS,
    ),
    Fault(
        "only one tap shifted in a fold forward",
        "pruning/folds/algebra.py",
        ".flatten(2).sum(2, dtype=torch.float64)",
        ".flatten(2)[..., 0].double()",
        _CHAINS,
    ),
    Fault(
        "fold across a second consumer",
        "pruning/decisions.py",
        "if call.conv.consumers != 1:",
        "if call.conv.consumers < 1:",
        _REFUSALS,
    ),
    Fault(
        "hooks of the norm ignored",
        "pruning/decisions.py",
        'if has_hooks(candidate.module):\n            return Refusal(RefusalCode.HOOKS, f"{name}',
        'if False:\n            return Refusal(RefusalCode.HOOKS, f"{name}',
        _REFUSALS,
    ),
    Fault(
        "other uses of a kernel ignored",
        "pruning/folds/kernel.py",
        "if others or len(alike) != 1:",
        "if len(alike) != 1:",
        _REFUSALS,
    ),
    Fault(
        "tied kernels ignored",
        "pruning/folds/kernel.py",
        "if len(owners) != 1:\n        return Refusal(RefusalCode.WEIGHT_SHARED",
        "if len(owners) < 1:\n        return Refusal(RefusalCode.WEIGHT_SHARED",
        _REFUSALS,
    ),
    Fault(
        "other uses of a bias ignored",
        "pruning/folds/kernel.py",
        "if len(owners) != 1 or memory is None or captured.uses.get(memory) != len(convs):",
        "if memory is None:",
        ("pruning/test_sharing_hooks_and_control_flow.py", *_REFUSALS),
    ),
    Fault(
        "fold forward into a zero-padded convolution",
        "pruning/decisions.py",
        "if call.into.zero_padded:",
        "if False:",
        _CHAINS,
    ),
    Fault(
        "fold forward into a transposed convolution",
        "pruning/decisions.py",
        "if call.into.transposed:",
        "if False:",
        _CHAINS,
    ),
    Fault(
        "padding with a constant taken for one that repeats",
        "pruning/capture/graph_reader.py",
        'argument(user, 2, "mode", "constant") != "constant"',
        "pads",
        _CHAINS,
    ),
    Fault(
        "gate order IN/LN permuted",
        "normalizer.py",
        "IN = 0\n    LN = 1",
        "IN = 1\n    LN = 0",
        ("nn/test_switchable_layers.py", "test_selection.py"),
    ),
    Fault(
        "Bessel's correction forgotten in an instance norm",
        "pruning/rewrite.py",
        "positions = layer.positions if layer.correction else None",
        "positions = None",
        _PAIRS,
    ),
    Fault(
        "Bessel's correction forgotten in moments",
        "nn/inference/moment_norm.py",
        "if self.correction == 0:\n            return 1.0",
        "if True:\n            return 1.0",
        _PAIRS,
    ),
    Fault(
        "Bessel's correction upside down at open sizes",
        "nn/inference/moment_norm.py",
        "return count / (count - 1)",
        "return (count - 1) / count",
        ("onnx_export/test_openvino.py", "onnx_export/test_dynamic_axes.py"),
    ),
    Fault(
        "channels forgotten in the sum of an LN mean",
        "pruning/rewrite.py",
        "coefficient = 1 / (module.num_features * scale)",
        "coefficient = 1 / scale",
        _PAIRS,
    ),
    Fault(
        "folded running mean not added back for an LN variance",
        "pruning/rewrite.py",
        "offset=None if offset is None else offset.to(like)",
        "offset=None if offset is None else torch.zeros_like(like)",
        _PAIRS,
    ),
    Fault(
        "overlapping memory taken for separate",
        "pruning/capture/tensor_identity.py",
        "if where != device or start >= end or start == stop:",
        "if True:",
        _REFUSALS,
    ),
    Fault(
        "a zero scale divided by",
        "pruning/folds/kernel_range.py",
        "return is_normal(scale, dtype) and is_normal(inverse, dtype)",
        "return bool(inverse.numel())",
        _PAIRS,
    ),
    Fault(
        "absorbed steps in the wrong order",
        "pruning/folds/affine.py",
        "for step in steps:",
        "for step in reversed(list(steps)):",
        _CHAINS,
    ),
    Fault(
        "bias not scaled when a layer is absorbed",
        "pruning/folds/affine.py",
        "bias.double() * scale + shift",
        "bias.double() + shift",
        _CHAINS,
    ),
    Fault(
        "calls inside regions of their own not counted",
        "pruning/capture/graph_reader.py",
        "for region in captured.regions():",
        "for region in captured.regions()[:0]:",
        ("pruning/test_sharing_hooks_and_control_flow.py",),
    ),
    Fault(
        "a linear layer over the last of three axes taken for one over channels",
        "pruning/capture/graph_reader.py",
        "(name == _LINEAR and axes_of(node) == 2)",
        "name == _LINEAR",
        _DIMENSIONS,
    ),
    Fault(
        "conditions on sizes not checked",
        "pruning/prune.py",
        "if captured.guards and any(",
        "if not captured.guards and any(",
        ("pruning/test_size_conditions.py",),
    ),
    Fault(
        "uses outside of captured parts ignored",
        "pruning/capture/partial.py",
        "facts.uses[key] = max(facts.uses[key], count)",
        "facts.uses[key] = max(facts.uses[key], min(count, 0))",
        _PARTS,
    ),
    Fault(
        "calls outside of captured parts ignored",
        "pruning/capture/partial.py",
        "run.calls.get(path, [])[seen:]",
        "run.calls.get(path, [])[:0]",
        _PARTS,
    ),
    Fault(
        "the point forgotten in the mean of one sample",
        "onnx_export/passes/one_sample.py",
        'return data, emit(graph, found.last, "Sub", [mean, point], _broadcast(mean, point))',
        "return data, mean",
        _PASSES,
    ),
    Fault(
        "a mean that is not scaled in the shift of large samples",
        "onnx_export/passes/scale_and_shift.py",
        'product = emit(graph, last, "Mul", [mean, scale], shape)',
        "product = mean",
        _PASSES,
    ),
    Fault(
        "the bias subtracted from large planes",
        "onnx_export/passes/bias_with_mean.py",
        'emit(graph, node, "Sub", [mean, bias], mean.shape)',
        'emit(graph, node, "Add", [mean, bias], mean.shape)',
        _PASSES,
    ),
    Fault(
        "nodes of any module shown to a pass",
        "onnx_export/passes/table.py",
        "if entry.layers and not isinstance(modules.get(path), entry.layers):",
        "if entry.layers and path not in modules:",
        ("onnx_export/passes/test_user_code.py",),
    ),
)
