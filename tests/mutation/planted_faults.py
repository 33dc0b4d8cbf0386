"""The faults that ``planted_bugs.py`` plants: one wrong line each."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Fault:
    """One fault.

    Attributes:
        name: What is wrong.
        file: Path inside the package.
        old: Text that occurs there exactly once.
        new: Its replacement.
        tests: Test files that should notice, tried first.
    """

    name: str
    file: str
    old: str
    new: str
    tests: tuple[str, ...]


_PAIRS = ("pruning/forms/test_pair_forms.py", "pruning/folds/test_scale_and_shift.py")
_ABSORBED = ("pruning/folds/test_absorbed.py",)
_FOLLOWING = ("pruning/folds/test_into_following.py",)
_REFUSALS = ("pruning/folds/test_kernel.py",)
_DIMENSIONS = ("pruning/test_dimensions.py",)
_PARTS = ("pruning/capture/test_partial.py",)
_ADOPTED = (
    "surgery/test_adoption.py",
    "surgery/test_adoption_precision.py",
    "surgery/test_adopted_files.py",
    "surgery/test_calls_of_layers.py",
    "surgery/test_unverified_layers.py",
)
_PASSES = ("onnx_export/passes/test_every_pair.py",)

FAULTS = (
    Fault(
        "eps forgotten in a folded scale",
        "pruning/static_norm.py",
        "(running_var.double() + eps).sqrt()",
        "running_var.double().sqrt()",
        _PAIRS,
    ),
    Fault(
        "group order of a transposed convolution",
        "pruning/folds/kernel_arithmetic.py",
        "scale.view(groups, 1, -1, *window)",
        "scale.view(-1, groups).t().reshape(groups, 1, -1, *window)",
        _DIMENSIONS + _PAIRS,
    ),
    Fault(
        "kernel scaled on the axis of its inputs",
        "pruning/folds/kernel_arithmetic.py",
        "scale.view(1, -1, 1, *window)",
        "scale.view(1, 1, -1, *window)",
        _PAIRS,
    ),
    Fault(
        "sign of the running mean in a folded bias",
        "pruning/folds/kernel_arithmetic.py",
        "total = total - mean.double()",
        "total = total + mean.double()",
        _PAIRS,
    ),
    Fault(
        "sign of the running mean in a static shift",
        "pruning/static_norm.py",
        "shift = -running_mean.double()",
        "shift = running_mean.double()",
        _ABSORBED,
    ),
    Fault(
        "groups ignored in a fold forward",
        "pruning/folds/kernel_arithmetic.py",
        "factor = scale.view(groups, 1, -1,",
        "factor = scale[: kernel.shape[1]].view(1, 1, -1,",
        _FOLLOWING,
    ),
    Fault(
        "only one window position shifted in a fold forward",
        "pruning/folds/kernel_arithmetic.py",
        ".flatten(2).sum(2, dtype=torch.float64)",
        ".flatten(2)[..., 0].double()",
        _FOLLOWING,
    ),
    Fault(
        "fold across a second consumer",
        "pruning/folds/kernel.py",
        "if conv.consumers != 1:",
        "if conv.consumers < 1:",
        _REFUSALS,
    ),
    Fault(
        "hooks of the norm ignored",
        "pruning/planner.py",
        "if has_hooks(layer.module):",
        "if False:",
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
        "pruning/folds/into_following.py",
        "if call.following_conv.zero_padded:",
        "if False:",
        _FOLLOWING,
    ),
    Fault(
        "fold forward into a transposed convolution",
        "pruning/folds/into_following.py",
        "if call.following_conv.transposed:",
        "if False:",
        _FOLLOWING,
    ),
    Fault(
        "padding with a constant taken for one that repeats",
        "pruning/capture/graph_reader.py",
        'argument(user, 2, "mode", "constant") != "constant"',
        "pads",
        _FOLLOWING,
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
        "pruning/forms/instance_norm.py",
        "positions = layer.positions if layer.correction else None",
        "positions = None",
        _PAIRS,
    ),
    Fault(
        "Bessel's correction forgotten in moments",
        "nn/inference/bessel.py",
        "positions = positions_of(x)\n",
        "return 1.0, 1.0\n",
        _PAIRS,
    ),
    Fault(
        "Bessel's correction upside down at dynamic sizes",
        "nn/inference/bessel.py",
        "return values / (values - 1)",
        "return (values - 1) / values",
        ("onnx_export/test_openvino.py", "onnx_export/test_dynamic_axes.py"),
    ),
    Fault(
        "channels forgotten in the sum of an LN mean",
        "pruning/forms/layer_centre.py",
        "coefficient = 1 / (norm.num_features * scale)",
        "coefficient = 1 / scale",
        _PAIRS,
    ),
    Fault(
        "folded running mean not added back for an LN variance",
        "pruning/forms/moments.py",
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
        "pruning/folds/scale.py",
        "return _is_normal(scale, dtype) and _is_normal(inverse, dtype)",
        "return bool(inverse.numel())",
        ("pruning/folds/test_scale.py",),
    ),
    Fault(
        "absorbed steps in the wrong order",
        "pruning/folds/absorbed.py",
        "for step in steps:",
        "for step in reversed(list(steps)):",
        _ABSORBED,
    ),
    Fault(
        "a layer absorbed by one that has folded",
        "pruning/folds/absorbed.py",
        "if context.decisions[absorbing].fold is not None:",
        "if False:",
        _ABSORBED,
    ),
    Fault(
        "bias not scaled when a layer is absorbed",
        "pruning/folds/absorbed.py",
        "bias.double() * scale + shift",
        "bias.double() + shift",
        _ABSORBED,
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
        "pruning/capture/surroundings.py",
        "name == LINEAR and isinstance(value, Tensor) and value.dim() == 2",
        "name == LINEAR and isinstance(value, Tensor)",
        _DIMENSIONS,
    ),
    Fault(
        "conditions on sizes not checked",
        "pruning/prune.py",
        "if captured.guards and any(",
        "if not captured.guards and any(",
        ("pruning/capture/test_size_conditions.py",),
    ),
    Fault(
        "uses outside of captured parts ignored",
        "pruning/capture/partial.py",
        "records.uses[key] = max(records.uses[key], count)",
        "records.uses[key] = max(records.uses[key], min(count, 0))",
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
        "the comparison is made with the adopted copy instead of the user's network",
        "surgery/adoption.py",
        "outputs, operator = _run_float64(given, inputs,",
        "outputs, operator = _run_float64(adopted, inputs,",
        _ADOPTED,
    ),
    Fault(
        "a file is compared with the adopted copy instead of the user's network",
        "pruning/prune.py",
        "return self.given if usable and self.given is not None else self.original",
        "return self.original",
        _ADOPTED,
    ),
    Fault(
        "a failing probe adopts a live network unchecked",
        "pruning/prune.py",
        "given=model if foreign_layers(model) else None",
        "given=None",
        _ADOPTED,
    ),
    Fault(
        "a failing probe adopts a factory's network unchecked",
        "checkpoint/loading.py",
        "given, model = model, adopt_layers(model)",
        "model = adopt_layers(model)",
        _ADOPTED,
    ),
    Fault(
        "eps wrong by 10 % at mean 100",
        "surgery/from_reference.py",
        "layer.correction, layer.eps = found.correction, found.eps",
        "layer.correction, layer.eps = found.correction, found.eps * 1.1",
        _ADOPTED,
    ),
    Fault(
        "the bound in float64 is the own error in float32",
        "surgery/rounding_bounds.py",
        "PRECISION_RATIO = 2.0**-29",
        "PRECISION_RATIO = 1.0",
        _ADOPTED,
    ),
    Fault(
        "the larger float32 error bounds that of the file",
        "verification/compare.py",
        "return min(self.own_errors)",
        "return max(self.own_errors)",
        ("verification/test_verification.py",),
    ),
    Fault(
        "a network with memory is a reference",
        "surgery/repeated_runs.py",
        "if not same_values(outputs, third):",
        "if not same_values(outputs, outputs):",
        ("surgery/test_repeated_runs.py",),
    ),
    Fault(
        "a layer is compared at its first call only",
        "surgery/adoption_bounds.py",
        "for call, error in enumerate(calls):",
        "for call, error in enumerate(calls[:1]):",
        _ADOPTED,
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
        "a mean over channels without the last axis",
        "nn/axes.py",
        "return (1, values.dim() - 1) if values.dim() > 2 else (1,)",
        "return (1,)",
        ("onnx_export/test_targets.py",),
    ),
    Fault(
        "means over three axes left to OpenCV",
        "onnx_export/passes/two_axes.py",
        "if len(reduced_axes(node)) < 3:",
        "if len(reduced_axes(node)) < 4:",
        ("onnx_export/passes/test_two_axes.py",),
    ),
    Fault(
        "a format version that shuts out runtimes",
        "onnx_export/ir_version.py",
        "return max(needed)",
        "return max(needed) + 2",
        ("onnx_export/test_ir_version.py",),
    ),
    Fault(
        "the entries after an axis in a circular padding",
        "onnx_export/opsets/circular_pad.py",
        "value, axis, 0, after)",
        "value, axis, -after, _TO_THE_END)",
        ("onnx_export/opsets/test_respellings.py",),
    ),
    Fault(
        "nodes of any module shown to a pass",
        "onnx_export/passes/table.py",
        "if entry.layers and not isinstance(modules.get(path), entry.layers):",
        "if entry.layers and path not in modules:",
        ("onnx_export/passes/test_user_code.py",),
    ),
    Fault(
        "the range of an activation for what is computed from it",
        "runtime/file_outputs.py",
        "elif node.op_type in REARRANGING:",
        'elif node.op_type in (*REARRANGING, "Mul", "Add"):',
        ("runtime/test_file_outputs.py",),
    ),
    Fault(
        "the range of an activation for every output",
        "verification/compare.py",
        "self.scale = 0.0 if output.activation is None else 1.0",
        "self.scale = 1.0",
        ("runtime/test_file_outputs.py",),
    ),
    Fault(
        "infinities of both signs are equal",
        "surgery/nested.py",
        ".masked_fill_(given == wide, 0.0)",
        ".masked_fill_(given.isinf() & wide.isinf(), 0.0)",
        ("surgery/test_nested.py",),
    ),
    Fault(
        "the paper's gates in files of the reference code",
        "selection.py",
        "solved(logits, radius or 0.0, definition)",
        'solved(logits, radius or 0.0, "paper")',
        ("test_selection.py", "pruning/test_unfinished_gates.py"),
    ),
    Fault(
        "the reference code's radius not shortened on a smaller face",
        "nn/reference_gate.py",
        "rounded(rounded(r * r) - _squared_distance(centre, outer, rounded))",
        "rounded(r * r)",
        ("nn/test_reference_gate.py",),
    ),
)
